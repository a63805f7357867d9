"""What libvirt is told: every mode of a move as flags and parameters, and no mode that QEMU refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.inventory import PageClass, Vm
from drsim.plan import Move
from drsim.transfer import Transfer, contradictions
from executor.hypervisor.libvirt_flags import cache_mib, migration_flags, migration_parameters

FLAGS = (
    *("LIVE", "PEER2PEER", "TUNNELLED", "PERSIST_DEST", "UNDEFINE_SOURCE", "NON_SHARED_DISK", "NON_SHARED_INC"),
    "NON_SHARED_SYNCHRONOUS_WRITES",
    *("TLS", "AUTO_CONVERGE", "POSTCOPY", "PARALLEL", "COMPRESSED", "ABORT_ON_ERROR"),
)
PARAMETERS = (
    *("BANDWIDTH", "BANDWIDTH_POSTCOPY", "PARALLEL_CONNECTIONS", "COMPRESSION", "COMPRESSION_XBZRLE_CACHE"),
    *("MIGRATE_DISKS", "MIGRATE_DISKS_DETECT_ZEROES", "DEST_XML"),
)
LV = SimpleNamespace(
    **{f"VIR_MIGRATE_{name}": 1 << bit for bit, name in enumerate(FLAGS)},
    **{f"VIR_MIGRATE_PARAM_{name}": name.lower() for name in PARAMETERS},
)
"""libvirt's constants, one bit and one word each, so that the tests run where libvirt is not."""

GUEST = Vm(name="g", host="a", vcpus=1, memory_mib=1024)


def told(**changes: object) -> tuple[set[str], dict[str, object]]:
    move = Move(id="m", vm="g", source="a", target="b", reason="test", **changes)  # type: ignore[arg-type]
    flags = migration_flags(LV, move, persistent=False)
    return {name for bit, name in enumerate(FLAGS) if flags >> bit & 1}, migration_parameters(LV, move, GUEST)


ALWAYS = {"LIVE", "ABORT_ON_ERROR", "PEER2PEER"}


@pytest.mark.parametrize(
    ("transfer", "flags", "parameters"),
    [
        (Transfer(), set(), {}),
        (Transfer(mode="hybrid"), {"POSTCOPY"}, {}),
        (Transfer(mode="postcopy", tls=True), {"POSTCOPY", "TLS"}, {}),
        (Transfer(auto_converge=True), {"AUTO_CONVERGE"}, {}),
        (Transfer(transport="tunnelled"), {"TUNNELLED"}, {}),
        (Transfer(parallel_connections=4), {"PARALLEL"}, {"parallel_connections": 4}),
        (
            Transfer(parallel_connections=2, compression="zstd"),
            {"PARALLEL", "COMPRESSED"},
            {"parallel_connections": 2, "compression": "zstd"},
        ),
        (
            Transfer(compression="xbzrle"),
            {"COMPRESSED"},
            {"compression": "xbzrle", "compression_xbzrle_cache": 64 << 20},
        ),
    ],
)
def test_each_setting_is_one_flag(transfer: Transfer, flags: set[str], parameters: dict[str, object]) -> None:
    assert told(transfer=transfer) == (ALWAYS | flags, parameters)


def test_a_direct_migration_is_not_peer_to_peer() -> None:
    assert told(transfer=Transfer(transport="direct"))[0] == ALWAYS - {"PEER2PEER"}


def test_a_guest_that_is_defined_is_defined_on_the_target() -> None:
    move = Move(id="m", vm="g", source="a", target="b", reason="test")
    both = LV.VIR_MIGRATE_PERSIST_DEST | LV.VIR_MIGRATE_UNDEFINE_SOURCE
    assert migration_flags(LV, move, persistent=True) & both == both
    assert migration_flags(LV, move, persistent=False) & both == 0


def test_disks_are_named_and_kept_sparse_and_the_cap_is_in_whole_mib() -> None:
    flags, parameters = told(copy_disks=("vda", "vdb"), bandwidth_mbit_s=1000.0, transfer=Transfer(mode="hybrid"))
    assert ("NON_SHARED_DISK" in flags, "NON_SHARED_INC" in flags) == (True, False)
    top = told(copy_disks=("vda",), transfer=Transfer(disk_layers="top"))[0]
    assert ("NON_SHARED_DISK" in top, "NON_SHARED_INC" in top) == (False, True)
    assert told(transfer=Transfer(disk_layers="top")) == (ALWAYS, {})
    assert parameters == {
        "bandwidth": 119,
        "bandwidth_postcopy": 119,
        "migrate_disks": ["vda", "vdb"],
        "migrate_disks_detect_zeroes": ["vda", "vdb"],
    }
    assert "NON_SHARED_SYNCHRONOUS_WRITES" in told(copy_disks=("vda",), transfer=Transfer(synchronous_writes=True))[0]
    assert told(transfer=Transfer(synchronous_writes=True)) == (ALWAYS, {})
    assert told(bandwidth_mbit_s=1.0)[1] == {"bandwidth": 1}  # 0 would be no cap at all


@given(st.lists(st.floats(1, 4096), max_size=3))
def test_the_cache_is_a_power_of_two_and_holds_what_is_written(sizes: list[float]) -> None:
    guest = Vm(
        name="g",
        host="a",
        vcpus=1,
        memory_mib=16384,
        dirty=tuple(PageClass(size_mib=size, dirty_rate_mib_s=1.0) for size in sizes),
    )
    cache = cache_mib(guest)
    assert cache & (cache - 1) == 0
    assert 64 <= cache <= 1024
    assert cache >= min(sum(sizes), 1024)


@pytest.mark.parametrize(
    ("transfer", "copies", "names"),
    [
        (Transfer(compression="zstd"), False, "multifd"),
        (Transfer(compression="xbzrle", parallel_connections=2), False, "multifd"),
        (Transfer(compression="xbzrle", mode="hybrid"), False, "post-copy"),
        (Transfer(parallel_connections=2, mode="postcopy"), False, "post-copy"),
        (Transfer(parallel_connections=2, transport="tunnelled"), False, "peer_to_peer"),
        (Transfer(tls=True, transport="tunnelled"), False, "leave out tls"),
        (Transfer(mode="hybrid", transport="tunnelled"), False, "peer_to_peer"),
        (Transfer(transport="tunnelled"), True, "disks"),
    ],
)
def test_what_excludes_each_other_is_named_with_a_way_out(transfer: Transfer, copies: bool, names: str) -> None:
    said = contradictions(transfer, copies_disks=copies)
    assert any(names in text for text in said)
    assert contradictions(Transfer(), copies_disks=copies) == ()
