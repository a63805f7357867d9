"""Files and scripts that a host of the lab is configured with."""

from __future__ import annotations

from executor.lab.config import network_script


def test_only_a_tuned_host_keeps_its_send_queue_short() -> None:
    plain, tuned = (network_script("h1", "10.10.0.11", tuned=tuned) for tuned in (False, True))
    assert "tcp_notsent_lowat" not in plain
    assert tuned.startswith(plain.rstrip("\n"))
    assert "net.ipv4.tcp_notsent_lowat=131072" in tuned
