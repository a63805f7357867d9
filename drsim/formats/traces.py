"""Published traces as inventories: ``huawei:FOLDER`` and ``planetlab:FILE``.

Both hold requests or series without a host. They are placed here by first fit, the largest first, so that a planner has
a cluster to begin with; the placement is ours, the sizes are theirs.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from drsim.errors import InventoryError
from drsim.formats.text import read_text, refuse
from drsim.inventory import Host, HostNic, Inventory, Site, Vm
from drsim.policy import Apart, Policy, Rule, Together

HUAWEI, PLANETLAB = "huawei:", "planetlab:"
NIC_MBIT_S = 25_000.0
"""Card of a host, which neither trace tells: 25 Gbit/s Ethernet."""

SAMPLES_CORES = 4
"""vCPUs of a PlanetLab guest, which the trace does not tell: its nodes had two or four cores."""


def _rows(path: Path, *needed: str) -> list[dict[str, str]]:
    text = read_text(path, InventoryError, "the folder of the data set")
    rows = list(csv.DictReader(io.StringIO(text)))
    for name in needed:
        if not rows or name not in rows[0]:
            raise refuse(
                InventoryError, str(path), f"there is no column '{name}'.", "Name the folder of the data set.", name
            )
    return rows


def read_huawei(folder: str | Path, requests: str = "VM_data_C4.csv") -> tuple[Inventory, Policy]:
    """Read the topology-aware placement data set of Huawei Cloud: dual-NUMA hosts, racks, requests in groups.

    Affinity groups become ``together``, anti-affinity and fault-domain groups ``apart`` (fault domains ask for
    different racks, which is more than today's rules say; NUMA nodes are summed). Requests that fit nowhere are left
    out.

    Raises
    ------
    InventoryError
        If a file or a column is missing.
    """
    folder = Path(folder)
    capacity = _rows(folder / "PM_res.csv", "CPU1", "RAM1", "CPU2", "RAM2")
    racks = {row["host_id"]: row["rack_id"] for row in _rows(folder / "topology_provider.csv", "host_id", "rack_id")}
    hosts = tuple(
        Host(
            name=f"host-{number}",
            site="cloud",
            cores=max(1, int(row["CPU1"]) + int(row["CPU2"])),
            memory_mib=max(1, int(row["RAM1"]) + int(row["RAM2"])) * 1024,
            cpu_overcommit=1.0,
            rack=racks.get(f"host-{number}"),
            nics=(HostNic(name="nic", rate_mbit_s=NIC_MBIT_S),),
        )
        for number, row in enumerate(capacity)
    )
    rows = _rows(folder / requests, "flavor_vcpus", "flavor_ram", "strategy", "group")
    wanted = [
        Vm(
            name=f"vm-{number:04d}",
            host="",
            vcpus=int(float(row["flavor_vcpus"])),
            memory_mib=int(float(row["flavor_ram"])) * 1024,
        )
        for number, row in enumerate(rows)
    ]
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for vm, row in zip(wanted, rows, strict=True):
        if row["strategy"] and row["group"]:
            groups[row["strategy"], row["group"]].append(vm.name)
    vms = first_fit(hosts, wanted)
    placed = {vm.name for vm in vms}
    rules: list[Rule] = []
    for (strategy, group), names in groups.items():
        members = tuple(name for name in names if name in placed)
        if len(members) < 2:
            continue
        kind = Together if strategy == "affinity" else Apart
        rules.append(kind(name=f"{strategy} {group}", vms=members, strength="should"))
    inventory = Inventory(name="huawei", sites=(Site(name="cloud"),), hosts=hosts, vms=vms)
    return inventory, Policy(rules=tuple(rules))


def read_planetlab(path: str | Path) -> Inventory:
    """Read a day of PlanetLab CPU series: one line a guest, its CPU use in per cent every five minutes.

    Demand is the mean of the day. Sizes are not in the trace: every guest has 4 vCPUs and 8 GiB, every host 32 cores
    and 256 GiB, as many hosts as hold the guests at half their memory.

    Raises
    ------
    InventoryError
        If it is no such file.
    """
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except OSError as error:
        remedy = "Name a file of the trace."
        raise refuse(InventoryError, str(path), f"it cannot be read: {error.strerror or error}.", remedy) from error
    vms = []
    for number, row in enumerate(csv.reader(io.StringIO(raw.decode(errors="replace")))):
        try:
            values = [float(cell) for cell in row[1:] if cell != ""]
            mean = sum(values) / len(values)
        except (ValueError, ZeroDivisionError):
            if number == 0:  # a header
                continue
            raise refuse(
                InventoryError, str(path), f"line {number + 1} is no series of numbers.", "Name a file of the trace."
            ) from None
        demand = round(mean / 100.0 * SAMPLES_CORES, 4)
        vms.append(Vm(name=f"vm-{number:04d}", host="", vcpus=SAMPLES_CORES, memory_mib=8192, cpu_demand_cores=demand))
    count = max(1, -(-len(vms) * 8192 * 2 // (256 * 1024)))
    hosts = tuple(
        Host(
            name=f"host-{number:03d}",
            site="planetlab",
            cores=32,
            memory_mib=256 * 1024,
            nics=(HostNic(name="nic", rate_mbit_s=NIC_MBIT_S),),
        )
        for number in range(count)
    )
    return Inventory(name="planetlab", sites=(Site(name="planetlab"),), hosts=hosts, vms=first_fit(hosts, vms))


def first_fit(hosts: Sequence[Host], vms: Sequence[Vm]) -> tuple[Vm, ...]:
    """Place guests on the first host with room, the largest first; those that fit nowhere are left out."""
    free = [[host.guest_memory_mib, host.guest_vcpus] for host in hosts]
    placed: dict[str, Vm] = {}
    start: dict[tuple[int, int], int] = {}
    for vm in sorted(vms, key=lambda vm: (-vm.memory_mib, -vm.vcpus, vm.name)):
        # Hosts that refused a guest of this size refuse the next one, too.
        for number in range(start.get((vm.memory_mib, vm.vcpus), 0), len(hosts)):
            if free[number][0] >= vm.memory_mib and free[number][1] >= vm.vcpus:
                free[number][0] -= vm.memory_mib
                free[number][1] -= vm.vcpus
                placed[vm.name] = replace(vm, host=hosts[number].name)
                start[vm.memory_mib, vm.vcpus] = number
                break
    return tuple(placed[vm.name] for vm in vms if vm.name in placed)
