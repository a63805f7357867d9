"""What a lab consists of, and the YAML file that says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from drsim.errors import DataError, LabError, Problem

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
MAX_HOSTS = 80
"""Hosts and guests each have an address in a /24."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Line:
    """The migration line of a host.

    Parameters
    ----------
    rate_mbit_s : float
        Rate, each direction; 0 is unlimited.
    rtt_ms : float
        Round-trip time between this host and another with the same setting.
    loss : float
        Packets lost, as a fraction.
    queue_ms : float
        Longest time that a packet waits in the emulated router before it is dropped.
    """

    rate_mbit_s: Annotated[float, Ge(0)] = 1000.0
    rtt_ms: Annotated[float, Ge(0)] = 0.0
    loss: Annotated[float, Ge(0), Le(1)] = 0.0
    queue_ms: Annotated[float, Gt(0)] = 50.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LabHost:
    """A host of the lab."""

    name: Annotated[str, MinLen(1)]
    site: str = "lab"
    line: Line = Line()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LabGuest:
    """A guest of the lab.

    Parameters
    ----------
    working_set_mib, dirty_rate_mib_s : int
        Memory that it writes to in turn, MiB, and how fast, MiB/s.
    disk_mib, disk_write_kib_s : int
        Size of its disk, MiB, and how fast it writes, KiB/s.
    datastore : {"shared", "local"}
        Folder that every host sees, or one of its host's own.
    """

    name: Annotated[str, MinLen(1)]
    host: str
    memory_mib: Annotated[int, Ge(128)] = 256
    vcpus: Annotated[int, Ge(1), Le(8)] = 1
    working_set_mib: Annotated[int, Ge(0)] = 32
    dirty_rate_mib_s: Annotated[int, Ge(0)] = 5
    disk_mib: Annotated[int, Ge(1)] = 64
    disk_write_kib_s: Annotated[int, Ge(0)] = 100
    datastore: Literal["shared", "local"] = "shared"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LabTopology:
    """Hosts and guests of a lab."""

    name: str = "lab"
    hosts: tuple[LabHost, ...]
    guests: tuple[LabGuest, ...] = ()

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


_ADAPTER: TypeAdapter[LabTopology] = TypeAdapter(LabTopology)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")


def checked(topology: LabTopology, place: str) -> LabTopology:
    """Return the topology if it can be built.

    Raises
    ------
    DataError
        With every contradiction found.
    """
    problems: list[Problem] = []

    def say(record: str, field: str, expected: str, remedy: str) -> None:
        problems.append(Problem(place=f"{place}: {record}", field=field, expected=expected, remedy=remedy))

    hosts = [host.name for host in topology.hosts]
    guests = [guest.name for guest in topology.guests]
    for kind, names in (("hosts", hosts), ("guests", guests)):
        if len(names) > MAX_HOSTS:
            say(kind, "name", f"there are {len(names)}, at most {MAX_HOSTS} fit.", "Use fewer.")
        for name in names:
            if not _NAME.fullmatch(name):
                say(
                    f"{kind} {name!r}",
                    "name",
                    "it must begin with a lower-case letter and hold at most 12 of a-z, 0-9 and '-', "
                    "because interfaces of the kernel are named after it.",
                    "Rename it.",
                )
            if names.count(name) > 1:
                say(f"{kind} {name!r}", "name", "the name is used twice.", "Rename one of them.")
    if not hosts:
        say("hosts", "hosts", "there is none.", "List at least one host.")
    if not _NAME.fullmatch(topology.name):
        say("lab", "name", f"{topology.name!r} is not a name of at most 12 of a-z, 0-9 and '-'.", "Rename the lab.")
    for guest in topology.guests:
        record = f"guests '{guest.name}'"
        if guest.host not in hosts:
            say(record, "host", f"'{guest.host}' is not among the hosts ({', '.join(hosts)}).", "Name one of them.")
        if guest.working_set_mib > guest.memory_mib - 96:
            say(
                record,
                "working_set_mib",
                f"{guest.working_set_mib} MiB do not fit into {guest.memory_mib} MiB beside the kernel (96 MiB).",
                "Lower it, or raise memory_mib.",
            )
    if problems:
        raise DataError(*dict.fromkeys(problems))
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
        raise LabError(f"{path}: expected a mapping with 'hosts' and 'guests', found {type(data).__name__}.")
    try:
        return checked(_ADAPTER.validate_python(data), str(path))
    except ValidationError as error:
        raise DataError(
            *(
                Problem(
                    place=f"{path}: {' '.join(str(part) for part in detail['loc'][:-1]) or 'lab'}",
                    field=str(detail["loc"][-1]),
                    expected=f"{detail['msg']} (found {detail['input']!r}).",
                    remedy="Correct it; 'drsim lab up --help' shows an example.",
                )
                for detail in error.errors()
            )
        ) from error
