"""Invented clusters, seeded: the demo that everybody can read, and large ones for tests and trials."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, Link, Network, PageClass, Site, Vm, VmNic
from drsim.policy import Apart, Limits, NotOn, Pin, Policy, RunOn, Together

SIZES = ((1, 2, 0.30), (2, 4, 0.30), (2, 8, 0.16), (4, 16, 0.14), (8, 32, 0.07), (16, 64, 0.03))
"""vCPUs, memory in GiB and share of guests: four in five have one or two vCPUs and up to 8 GiB, as Cortez et al.
report for Azure (SOSP 2017, doi:10.1145/3132747.3132772)."""


TIERS = (("web", 0.5), ("app", 0.35), ("db", 0.15))
"""Label and share of guests."""


def cluster(
    hosts: int, vms: int, seed: int, *, fill: float = 0.55, sites: int = 1, local_share: float = 0.0
) -> Inventory:
    """Invent a cluster.

    Parameters
    ----------
    hosts, vms : int
        How many, at least one host.
    seed : int
        Same numbers and seed: same cluster.
    fill : float
        Share of all memory that the guests have configured.
    sites : int
        Sites, of equal size, each with shared storage of its own, joined to the first by lines of 10 Gbit/s with
        round-trip times of 2 to 40 ms.
    local_share : float
        Share of the guests whose disk lies on their host.

    Returns
    -------
    Inventory
        Free of problems. Most guests use a third of their CPU or less, the writable working set is a few per cent of
        the memory, and every tenth host is crowded.
    """
    random = np.random.default_rng(seed)
    sizes = random.choice(len(SIZES), size=vms, p=[share for _, _, share in SIZES])
    wanted_gib = sum(SIZES[size][1] for size in sizes)
    memory_gib = max(64, 64 * int(np.ceil(wanted_gib / fill / hosts / 64)))
    cores = max(16, 8 * int(np.ceil(sum(SIZES[size][0] for size in sizes) / hosts / 3.0 / 8)))
    places = tuple(f"site-{number + 1}" for number in range(sites))
    homes = tuple(places[number * sites // hosts] for number in range(hosts))
    members = tuple(
        Host(
            name=f"host{number:04d}",
            site=homes[number],
            cores=cores,
            memory_mib=memory_gib * 1024,
            rack=f"rack{number // 20:02d}",
            nics=(HostNic(name="eno1", rate_mbit_s=10_000.0),),
        )
        for number in range(hosts)
    )
    names = tuple(host.name for host in members)
    crowd = random.random(hosts) < 0.1
    weight = np.where(crowd, 1.6, 1.0)
    free = np.full(hosts, memory_gib * 1024.0)
    # From a stream of their own: with other sites or disks the guests stay the same.
    other = np.random.default_rng((seed, 1))
    tiers = other.choice([tier for tier, _ in TIERS], size=vms, p=[share for _, share in TIERS])
    on_host = other.random(vms) < local_share
    guests = []
    for number, size in enumerate(sizes.tolist()):
        vcpus, gib, _ = SIZES[size]
        draw = random.choice(hosts, p=weight / weight.sum())
        home = int(draw) if free[draw] >= gib * 1024 else int(np.argmax(free))
        free[home] -= gib * 1024
        store = f"{names[home]}-disks" if on_host[number] else f"shared-{homes[home]}"
        guest = _guest(f"vm{number:05d}", names[home], vcpus, gib * 1024, store, random)
        guests.append(replace(guest, tags=(str(tiers[number]),)))
    return Inventory(
        name=f"synthetic-{hosts}x{vms}-{seed}",
        sites=tuple(Site(name=place) for place in places),
        hosts=members,
        datastores=(
            *(
                Datastore(name=f"shared-{p}", kind="nfs", hosts=tuple(itertools.compress(names, _at(homes, p))))
                for p in places
            ),
            *(Datastore(name=f"{name}-disks", kind="local", hosts=(name,)) for name in names if local_share > 0),
        ),
        networks=(Network(name="br0", bridge="br0", hosts=names),),
        vms=tuple(guests),
        links=tuple(
            Link(a=places[0], b=place, bandwidth_mbit_s=10_000.0, rtt_ms=round(float(other.uniform(2.0, 40.0)), 1))
            for place in places[1:]
        ),
    )


def _at(homes: Sequence[str], place: str) -> list[bool]:
    return [home == place for home in homes]


def _guest(name: str, host: str, vcpus: int, memory_mib: int, store: str, random: np.random.Generator) -> Vm:
    used = round(memory_mib * float(random.uniform(0.35, 0.95)), 1)
    hot = round(max(1.0, used * float(random.uniform(0.005, 0.06))), 1)
    return Vm(
        name=name,
        host=host,
        vcpus=vcpus,
        memory_mib=memory_mib,
        cpu_demand_cores=round(vcpus * float(random.beta(1.2, 4.0)), 3),
        memory_used_mib=used,
        disks=(Disk(name="vda", datastore=store, size_mib=20480.0),),
        nics=(VmNic(network="br0"),),
        dirty=(
            PageClass(size_mib=hot, dirty_rate_mib_s=round(hot * float(random.uniform(0.1, 1.0)), 2)),
            PageClass(size_mib=round(used - hot, 1), dirty_rate_mib_s=round(float(random.lognormal(0.0, 0.8)), 2)),
        ),
    )


# name, vCPUs, GiB, demand (cores), working set (MiB), its dirty rate (MiB/s), host
_SHOP = (
    ("web", 8, 4, 8, 1.9, 96, 40, "h1 h1 h2 h2 h3 h4 h5 h6"),
    ("app", 8, 8, 16, 3.6, 256, 90, "h1 h1 h1 h2 h3 h4 h5 h6"),
    ("db", 4, 8, 32, 4.2, 512, 120, "h1 h1 h3 h5"),
    ("cache", 4, 4, 16, 1.4, 384, 150, "h1 h2 h4 h6"),
    ("queue", 3, 2, 8, 0.9, 64, 20, "h2 h3 h5"),
    ("search", 3, 8, 24, 2.8, 320, 60, "h4 h5 h6"),
    ("batch", 4, 8, 16, 5.5, 192, 35, "h1 h1 h2 h3"),
    ("mail", 2, 2, 8, 0.4, 48, 6, "h4 h6"),
    ("build", 2, 8, 16, 3.1, 128, 45, "h2 h6"),
)


def demo() -> tuple[Inventory, Policy]:
    """Invent the small shop of the demo: six hosts, about forty guests, one hot host, rules of every kind.

    Returns
    -------
    inventory, policy : Inventory, Policy
        Free of problems; one rule is broken and one host is hot at the start.
    """
    names = tuple(f"h{number}" for number in range(1, 7))
    hosts = tuple(
        Host(
            name=name,
            site="main",
            cores=32,
            memory_mib=262_144,
            reserved_memory_mib=8192,
            rack="rack-a" if name in ("h1", "h2", "h3") else "rack-b",
            cpu_model="Cascadelake-Server",
            tags=("licensed",) if name in ("h3", "h5", "h6") else (),
            nics=(HostNic(name="eno1", rate_mbit_s=10_000.0),),
        )
        for name in names
    )
    vms: list[Vm] = []
    for kind, count, vcpus, gib, demand, hot, rate, homes in _SHOP:
        for number, home in enumerate(homes.split()[:count], 1):
            used = round(gib * 1024 * (0.5 + 0.05 * number), 1)
            scale = 0.8 + 0.1 * number
            cold = PageClass(size_mib=round(used - hot, 1), dirty_rate_mib_s=2.0)
            vms.append(
                Vm(
                    name=f"{kind}-{number}",
                    host=home,
                    vcpus=vcpus,
                    memory_mib=gib * 1024,
                    cpu_demand_cores=round(min(demand * scale, vcpus), 2),
                    memory_used_mib=used,
                    tags=(kind,),
                    disks=(Disk(name="vda", datastore="nfs", size_mib=40_960.0, write_rate_mib_s=1.0),),
                    nics=(VmNic(network="br0", mac=f"52:54:00:10:{len(vms) // 256:02x}:{len(vms) % 256:02x}"),),
                    dirty=(PageClass(size_mib=float(hot), dirty_rate_mib_s=round(rate * scale, 1)), cold),
                )
            )
    vms.append(
        Vm(
            name="gpu-1",
            host="h6",
            vcpus=8,
            memory_mib=32_768,
            cpu_demand_cores=5.0,
            memory_used_mib=20_000.0,
            tags=("gpu",),
            unmovable_reason="it has a GPU of its host passed through",
            disks=(Disk(name="vda", datastore="nfs", size_mib=81_920.0),),
            nics=(VmNic(network="br0", mac="52:54:00:20:00:01"),),
        )
    )
    inventory = Inventory(
        name="demo",
        captured_at="2026-11-23T08:00:00+00:00",
        sites=(Site(name="main"),),
        hosts=hosts,
        datastores=(Datastore(name="nfs", kind="nfs", capacity_mib=8_388_608.0, path="/srv/nfs", hosts=names),),
        networks=(Network(name="br0", bridge="br0", hosts=names),),
        vms=tuple(vms),
    )
    policy = Policy(
        rules=(
            Apart(name="databases apart", vms=("tag:db",)),
            Apart(name="caches apart", vms=("tag:cache",), strength="should", price=0.5),
            Together(name="queue beside search", vms=("queue-3", "search-2")),
            RunOn(name="database licences", vms=("db-3", "db-4"), hosts=("tag:licensed",)),
            NotOn(name="no batch beside the GPU", vms=("tag:batch",), hosts=("h6",)),
            Pin(name="mail stays", vms=("mail-1",)),
        ),
        limits=Limits(cpu_headroom=0.05, memory_headroom=0.05, moves_per_host=2, moves_at_once=6),
    )
    return inventory, policy
