"""What a lab consists of, and the YAML file that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from drsim.errors import DataError, LabError
from executor.lab.dirty import Dirtying
from executor.lab.mistakes import mistakes
from executor.lab.wire import STRICT, LabNetwork, Line, Wan

Datastore = Literal["shared", "local", "iscsi", "nfs"]
"""Where a disk lies: a folder that every host sees; one of its host's own; behind an iSCSI target; on an NFS server."""

NETWORKED: tuple[Datastore, ...] = ("iscsi", "nfs")
"""Datastores that a server of the lab serves over its storage network."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabHost:
    """A host of the lab.

    Parameters
    ----------
    site : str
        Where it stands; hosts of different sites reach each other over the link of their sites.
    cluster : str
        Whose it is: each cluster has a certificate authority of its own.
    cpus : float or None
        CPUs that it and its guests may use at most; None: as many as it gets, in equal shares with the other hosts.
    line : Line
        Its migration line.
    """

    name: Annotated[str, MinLen(1)]
    site: Annotated[str, MinLen(1)] = "lab"
    cluster: Annotated[str, MinLen(1)] = "lab"
    cpus: Annotated[float, Gt(0)] | None = None
    line: Line = Line()


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabDisk:
    """A disk of a guest.

    Parameters
    ----------
    size_mib, write_kib_s : int
        Its size, MiB, and how fast the guest writes to it, KiB/s.
    datastore : {"shared", "local", "iscsi", "nfs"}
        Where it lies.
    format : {"raw", "qcow2"}
        What its file is like.
    base_mib : int
        Size of an image full of data that it is laid over and that all hosts see, MiB; 0: none. For qcow2 files.
    """

    size_mib: Annotated[int, Ge(1)] = 64
    write_kib_s: Annotated[int, Ge(0)] = 100
    datastore: Datastore = "shared"
    format: Literal["raw", "qcow2"] = "raw"
    base_mib: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabGuest:
    """A guest of the lab.

    Parameters
    ----------
    working_set_mib, dirty_rate_mib_s : int
        Memory that it writes to in turn, MiB, and how fast, MiB/s.
    dirty : Dirtying
        In which order, and whether the rate changes.
    disk_mib, disk_write_kib_s, datastore, disk_format
        Its first disk: fields of `LabDisk`.
    more_disks : tuple of LabDisk
        Its other disks.
    network : str
        Network that it is plugged into; empty: the first.
    vlan : int or None
        VLAN of its port, on a network of kind ``ovs``.
    traffic_kib_s : int
        Network traffic beside its numbered streams, KiB/s.
    autostart : bool
        Whether it is booted with the lab.
    """

    name: Annotated[str, MinLen(1)]
    host: str
    memory_mib: Annotated[int, Ge(128)] = 256
    vcpus: Annotated[int, Ge(1), Le(8)] = 1
    working_set_mib: Annotated[int, Ge(0)] = 32
    dirty_rate_mib_s: Annotated[int, Ge(0)] = 5
    dirty: Dirtying = Dirtying()
    disk_mib: Annotated[int, Ge(1)] = 64
    disk_write_kib_s: Annotated[int, Ge(0)] = 100
    datastore: Datastore = "shared"
    disk_format: Literal["raw", "qcow2"] = "raw"
    more_disks: tuple[LabDisk, ...] = ()
    network: str = ""
    vlan: Annotated[int, Ge(1), Le(4094)] | None = None
    traffic_kib_s: Annotated[int, Ge(0)] = 0
    autostart: bool = True
    tags: tuple[str, ...] = ()

    @property
    def disks(self) -> tuple[LabDisk, ...]:
        """All its disks: vda, vdb, ..."""
        first = LabDisk(
            size_mib=self.disk_mib,
            write_kib_s=self.disk_write_kib_s,
            datastore=self.datastore,
            format=self.disk_format,
        )
        return (first, *self.more_disks)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabTopology:
    """Hosts, guests, and what connects them.

    Parameters
    ----------
    name : str
        Name of the lab.
    hosts, guests : tuple
        Members.
    links : tuple of Wan
        Lines between sites; every two sites have one.
    networks : tuple of LabNetwork
        What guests are plugged into.
    tls : bool
        Whether libvirtd of every host listens on TLS as well, and the hosts reach each other over it.
    tuned : bool
        Whether the hosts' TCP is set for migrations over long lines; by default as the kernel has it.
    monitor_log : bool
        Whether hosts note what passes between libvirtd and QEMU: where QEMU's own figure of the downtime is read.
    """

    name: str = "lab"
    hosts: tuple[LabHost, ...]
    guests: tuple[LabGuest, ...] = ()
    links: tuple[Wan, ...] = ()
    networks: tuple[LabNetwork, ...] = (LabNetwork(name="lan"),)
    tls: bool = False
    tuned: bool = False
    monitor_log: bool = False

    @classmethod
    def simple(
        cls, *, name: str = "lab", hosts: int = 3, guests: int = 4, rate_mbit_s: float = 1000.0, rtt_ms: float = 0.0
    ) -> LabTopology:
        """Compose `hosts` equal hosts h1, h2, ... with `guests` guests g1, g2, ... dealt out from h1 on."""
        line = Line(rate_mbit_s=rate_mbit_s, rtt_ms=rtt_ms)
        names = [f"h{i}" for i in range(1, hosts + 1)]
        return checked(
            cls(
                name=name,
                hosts=tuple(LabHost(name=host, line=line) for host in names),
                guests=tuple(LabGuest(name=f"g{i + 1}", host=names[i % hosts]) for i in range(guests)),
            ),
            "topology",
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites, in the order of their first hosts."""
        return tuple(dict.fromkeys(host.site for host in self.hosts))

    @property
    def datastores(self) -> frozenset[Datastore]:
        """Kinds of datastores that its guests use."""
        return frozenset(disk.datastore for guest in self.guests for disk in guest.disks)

    def network_of(self, guest: LabGuest) -> LabNetwork:
        """Network that a guest is plugged into."""
        return next((each for each in self.networks if each.name == guest.network), self.networks[0])

    def segments(self) -> tuple[tuple[LabNetwork, int | None], ...]:
        """List networks, and of those with VLANs each VLAN in use: what has an address range of its own."""
        found: dict[tuple[str, int | None], tuple[LabNetwork, int | None]] = {
            (network.name, None): (network, None) for network in self.networks
        }
        for guest in self.guests:
            network = self.network_of(guest)
            found[network.name, guest.vlan] = (network, guest.vlan)
        return tuple(found.values())


_ADAPTER: TypeAdapter[LabTopology] = TypeAdapter(LabTopology)


def checked(topology: LabTopology, place: str) -> LabTopology:
    """Return the topology if it can be built.

    Raises
    ------
    DataError
        With every contradiction found.
    """
    from executor.lab.topology_check import contradictions

    problems = contradictions(topology, place)
    if problems:
        raise DataError(*problems)
    return topology


def read_topology(path: Path) -> LabTopology:
    """Read a topology file.

    Raises
    ------
    LabError, DataError
        If it cannot be read, or contradicts itself; each problem with its place and remedy.
    """
    try:
        data: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}. Name a topology file, or use --hosts and --guests.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not a YAML file: {' '.join(str(error).split())}. Correct it there.") from error
    if not isinstance(data, dict):
        found = "nothing" if data is None else repr(data)[:40]
        raise LabError(f"{path}: expected a mapping with 'hosts' and 'guests', found {found}.")
    try:
        return checked(_ADAPTER.validate_python(data), str(path))
    except ValidationError as error:
        raise mistakes(path, error, whole="lab", example="everything.yaml") from error
