"""Small estates for tests of rules, spelled by where the guests are."""

from __future__ import annotations

from collections.abc import Sequence

from drsim.inventory import Device, Host, HostNic, Inventory, Site, Vm


def estate(
    places: str,
    *,
    hosts: int = 3,
    memory_mib: Sequence[int] | int = 1024,
    host_mib: Sequence[int] | int = 8192,
    gpus: Sequence[int] | int = 0,
    host_gpus: Sequence[int] | int = 0,
    cpu: float = 0.1,
) -> Inventory:
    """Guests v1, v2, ... on the hosts whose digits are given; two hosts a rack."""

    def each(value: Sequence[int] | int, count: int) -> list[int]:
        return [value] * count if isinstance(value, int) else list(value)

    def some(count: int) -> tuple[Device, ...]:
        return (Device(name="gpu", count=count),) if count else ()

    sizes, wanted = each(memory_mib, len(places)), each(gpus, len(places))
    rooms, had = each(host_mib, hosts), each(host_gpus, hosts)
    return Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(
            Host(
                name=f"h{number + 1}",
                site="s",
                rack=f"r{number // 2}",
                cores=8,
                memory_mib=rooms[number],
                devices=some(had[number]),
                nics=(HostNic(name="e", rate_mbit_s=1e4),),
            )
            for number in range(hosts)
        ),
        vms=tuple(
            Vm(
                name=f"v{number + 1}",
                host=f"h{place}",
                vcpus=1,
                memory_mib=sizes[number],
                cpu_demand_cores=cpu,
                devices=some(wanted[number]),
                tags=("all", "odd" if number % 2 == 0 else "even"),
            )
            for number, place in enumerate(places)
        ),
    )
