"""What a host's own files tell, read over libvirt: its clock, the ports that are taken, its certificates.

libvirt has no call for any of these, but its storage driver lists and reads the files of any folder. A folder that is
in no pool becomes a transient one while it is read, and is forgotten again: nothing is defined, made or removed. Where
the host has no storage driver, or a security module keeps the daemon from a file, the answer is "not known".
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from executor.hypervisor.certificate import Certificate, validity
from executor.hypervisor.libvirt_connect import load_libvirt
from executor.hypervisor.libvirt_volumes import pools_by_path

MOST_BYTES = 4 << 20
"""Largest file that is read."""

STATE_FOLDER = "/run/libvirt/storage"
"""Where libvirt's storage driver notes its active pools, each when it becomes active: the note about the pool that is
made for the question is as old as the question."""

READING = "drsim-read-"
"""How the name of a pool begins that is there for the moment of reading."""

PORTS = (49152, 49215)
"""Range of migration ports, unless qemu.conf says otherwise (docs: migration_port_min, migration_port_max)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the files of a host tell; None: not known.

    Parameters
    ----------
    clock_ahead_s : float or None
        Its clock, less the clock of this process, seconds.
    clock_error_s : float
        By how much that may be wrong: half the time that the question took.
    free_ports : int or None
        Ports of its migration range on which nobody listens.
    outgoing_ports : int or None
        Ports from which it can still connect to others: those of its range that no connection and no listener holds.
    certificates : tuple of Certificate
        What its QEMU shows as server and as client; empty if not known.
    """

    clock_ahead_s: float | None = None
    clock_error_s: float = 0.0
    free_ports: int | None = None
    outgoing_ports: int | None = None
    certificates: tuple[Certificate, ...] = ()


def read_files(connection: Any, *, clock_s: Callable[[], float] = time.time) -> Readings:
    """Read the files of a host.

    Parameters
    ----------
    connection : libvirt.virConnect
        Read-write.
    clock_s : callable
        This process's clock, seconds since the epoch.
    """
    settings = _settings(connection)
    ahead_s, error_s = _clock(connection, clock_s)
    tables = [_read(connection, f"/proc/self/net/{file}") for file in ("tcp", "tcp6")]
    texts = [table.decode("ascii", errors="replace") for table in tables if table is not None]
    return Readings(
        clock_ahead_s=ahead_s,
        clock_error_s=error_s,
        free_ports=_free_ports(texts, settings) if len(texts) == len(tables) else None,
        outgoing_ports=_outgoing_ports(connection, texts) if len(texts) == len(tables) else None,
        certificates=_certificates(connection, settings),
    )


@contextlib.contextmanager
def _folder(connection: Any, path: str) -> Iterator[Any]:
    """Open a folder as a pool: that which it is in, or one for the moment."""
    pool = pools_by_path(connection).get(path)
    name = f"{READING}{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    if pool is not None and pool.name() != name:
        pool.refresh(0)
        yield pool
        return
    if pool is not None:  # left by a controller that died while it read
        pool.destroy()
    text = f"<pool type='dir'><name>{name}</name><target><path>{escape(path)}</path></target></pool>"
    pool = connection.storagePoolCreateXML(text, 0)
    try:
        yield pool
    finally:
        with contextlib.suppress(load_libvirt().libvirtError):
            pool.destroy()  # forgets a transient pool; its folder and files stay


def _read(connection: Any, path: str) -> bytes | None:
    """Return the content of a file; None if it is not there or cannot be read."""
    folder, name = posixpath.split(path)
    content = bytearray()

    def take(stream: object, data: bytes, opaque: object) -> int:
        content.extend(data)
        return len(data) if len(content) <= MOST_BYTES else -1

    try:
        with _folder(connection, folder) as pool:
            stream = connection.newStream(0)
            pool.storageVolLookupByName(name).download(stream, 0, 0, 0)
            stream.recvAll(take, None)
            stream.finish()
    except load_libvirt().libvirtError:
        return None
    return bytes(content)


_WANTED = (
    "migration_port_min",
    "migration_port_max",
    "default_tls_x509_cert_dir",
    "migrate_tls_x509_cert_dir",
    "default_tls_x509_verify",
    "migrate_tls_x509_verify",
)


def _settings(connection: Any) -> dict[str, str]:
    """Return the settings of the QEMU driver that matter here; passwords beside them are not kept."""
    return settings_of((_read(connection, "/etc/libvirt/qemu.conf") or b"").decode(errors="replace"))


def settings_of(text: str) -> dict[str, str]:
    """Return the settings that matter here from the text of a configuration file of libvirt."""
    pairs = re.findall(r'^[ \t]*(\w+)[ \t]*=[ \t]*"?([^"\n]*?)"?[ \t]*$', text, re.MULTILINE)
    return {key: value for key, value in pairs if key in _WANTED}


def _clock(connection: Any, clock_s: Callable[[], float]) -> tuple[float | None, float]:
    """Return how far the host's clock is ahead, and how wrong that may be, seconds."""
    began_s = clock_s()
    try:
        with _folder(connection, STATE_FOLDER) as pool:
            if not pool.name().startswith(READING):  # somebody's own pool: its note is as old as that
                return None, 0.0
            note = f"{pool.name()}.xml"
            if note not in pool.listVolumes():
                pool.refresh(0)
            there_s = _changed_s(pool.storageVolLookupByName(note).XMLDesc(0))
    except load_libvirt().libvirtError:
        return None, 0.0
    ended_s = clock_s()
    if there_s is None:
        return None, 0.0
    return there_s - (began_s + ended_s) / 2, (ended_s - began_s) / 2


def _changed_s(text: str) -> float | None:
    """Return when a file was last written to, seconds since the epoch, from the description of its volume."""
    word = ET.fromstring(text).findtext("target/timestamps/mtime")
    return None if word is None else float(word)


_LISTENING, _CLOSED = "0A", "06"
"""States of a socket in the kernel's table (include/net/tcp_states.h); one that only waits for stragglers of a closed
connection (``TIME_WAIT``) does not keep its port from others."""


def listening(table: str) -> set[int]:
    """Return the ports on which somebody listens, from the text of ``/proc/net/tcp`` or ``tcp6``."""
    return {port for port, state in _sockets(table) if state == _LISTENING}


def held(table: str) -> set[int]:
    """Return the ports that listeners and connections hold, from the same text."""
    return {port for port, state in _sockets(table) if state != _CLOSED}


def _sockets(table: str) -> Iterator[tuple[int, str]]:
    for row in (line.split() for line in table.splitlines()[1:]):
        if len(row) > 3:
            yield int(row[1].rpartition(":")[2], 16), row[3]


def _outgoing_ports(connection: Any, tables: Sequence[str]) -> int | None:
    text = (_read(connection, "/proc/sys/net/ipv4/ip_local_port_range") or b"").decode("ascii", errors="replace")
    match text.split():
        case [first, last] if first.isdecimal() and last.isdecimal():
            taken = set().union(*map(held, tables))
            return sum(port not in taken for port in range(int(first), int(last) + 1))
    return None


def _free_ports(tables: Sequence[str], settings: dict[str, str]) -> int | None:
    taken = set().union(*map(listening, tables))
    try:
        first = int(settings.get("migration_port_min", PORTS[0]))
        last = int(settings.get("migration_port_max", PORTS[1]))
    except ValueError:
        return None
    return sum(port not in taken for port in range(first, last + 1))


def _certificates(connection: Any, settings: dict[str, str]) -> tuple[Certificate, ...]:
    folder = settings.get("migrate_tls_x509_cert_dir") or settings.get("default_tls_x509_cert_dir") or "/etc/pki/qemu"
    asked = settings.get("migrate_tls_x509_verify") or settings.get("default_tls_x509_verify")
    wanted = [("QEMU as server", f"{folder}/server-cert.pem")]
    if asked != "0":  # a server that does not verify takes a client without a certificate
        wanted.append(("QEMU as client", f"{folder}/client-cert.pem"))
    try:
        with _folder(connection, folder) as pool:
            there = set(pool.listVolumes())
    except load_libvirt().libvirtError:
        return ()  # it cannot be looked into: nothing is known, and nothing is missing
    found = []
    for what, path in wanted:
        content = _read(connection, path) if posixpath.basename(path) in there else b""
        if content is None:
            continue
        times = validity(content)
        found.append(
            Certificate(
                what=what,
                path=path,
                valid_from=None if times is None else times[0],
                valid_until=None if times is None else times[1],
            )
        )
    return tuple(found)
