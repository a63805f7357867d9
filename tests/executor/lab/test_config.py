"""Files and scripts that a host of the lab is configured with."""

from __future__ import annotations

from executor.lab.config import network_script


def test_only_a_tuned_host_keeps_its_send_queue_short() -> None:
    plain, tuned = (network_script("h1", "10.10.0.11", tuned=tuned) for tuned in (False, True))
    assert "tcp_notsent_lowat" not in plain
    assert tuned.startswith(plain.rstrip("\n"))
    assert "net.ipv4.tcp_notsent_lowat=131072" in tuned


def test_a_host_that_comes_back_has_the_card_that_it_had() -> None:
    once, again, other = (network_script("h", ip) for ip in ("10.10.0.11", "10.10.0.11", "10.10.0.12"))
    assert "ip link set mig0 address 02:64:0a:0a:00:0b" in once
    assert once == again
    assert "02:64:0a:0a:00:0c" in other
