"""Two hundred hosts read at once, twenty of which let nobody in: libvirt's own test driver, no hypervisor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from executor.collect import collect

NODE = "<node><cpu><num>2</num><model>x86_64</model></cpu><memory>4194304</memory></node>"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_none_is_dropped_and_the_silent_ones_keep_nobody_waiting(tmp_path: Path, silent_port: int) -> None:
    node = tmp_path / "node.xml"
    node.write_text(NODE)
    mute = {f"h{number:03}" for number in range(0, 200, 10)}
    uris = {
        name: f"qemu+tcp://127.0.0.1:{silent_port}/system" if name in mute else f"test://{node}"
        for name in (f"h{number:03}" for number in range(200))
    }
    found = collect(uris, clock=lambda: datetime.now(UTC), interval_s=0.1, timeout_s=2.0)
    assert [host.name for host in found.inventory.hosts] == sorted(uris)
    assert {host.name for host in found.inventory.hosts if host.state == "unknown"} == mute == set(found.unreachable)
    assert all(
        any(remark.startswith(f"Host '{name}' is in state unknown") for remark in found.remarks) for name in mute
    )
