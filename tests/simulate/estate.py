"""A small estate for the simulation's tests: two sites, four hosts, a guest each move."""

from __future__ import annotations

from drsim.inventory import Host, HostNic, Inventory, Link, PageClass, Site, Vm
from drsim.plan import Move


def estate(guests: int = 4, rates: tuple[float, ...] = (1000.0, 1000.0, 1000.0, 10_000.0)) -> Inventory:
    """Hosts h1, h2 at Paris, h3, h4 at Lyon; guests v1, v2, ... all on h1."""
    hosts = tuple(
        Host(
            name=f"h{n}",
            site="paris" if n <= 2 else "lyon",
            cores=8,
            memory_mib=65_536,
            nics=(HostNic(name="eno1", rate_mbit_s=rate),),
        )
        for n, rate in enumerate(rates, start=1)
    )
    dirty = (PageClass(size_mib=200.0, dirty_rate_mib_s=15.0),)
    vms = tuple(Vm(name=f"v{n}", host="h1", vcpus=2, memory_mib=1024 * n, dirty=dirty) for n in range(1, guests + 1))
    return Inventory(
        sites=(Site(name="paris"), Site(name="lyon"), Site(name="island")),
        hosts=(*hosts, Host(name="h9", site="island", cores=8, memory_mib=65_536)),
        vms=vms,
        links=(Link(a="paris", b="lyon", bandwidth_mbit_s=500.0, rtt_ms=10.0),),
    )


def move(number: int, target: str = "h2", wave: int = 1, source: str = "h1", **more: object) -> Move:
    return Move(  # type: ignore[arg-type]
        id=f"m{number}", vm=f"v{number}", source=source, target=target, reason="test", wave=wave, **more
    )
