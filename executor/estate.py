"""What libvirt cannot tell and its owner declares: which hosts there are, where they stand, what they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from drsim.errors import HypervisorError, InventoryError, Problem
from drsim.inventory import Host, HostBridge, HostNic, Inventory, Link, Network
from executor.hypervisor.libvirt_connect import check_uri

_EXAMPLE = "Write it as in: hosts: [{name: h1, uri: 'qemu+ssh://root@h1/system', site: paris, nic_mbit_s: 10000}]."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredHost:
    """A host to collect, with what libvirt does not tell about it.

    Parameters
    ----------
    name : str or None
        Name in the inventory; None takes the name that the host gives itself.
    uri, peer_uri : str
        libvirt URI for the controller and for the other hosts (None: the same), without secrets.
    site, rack, tags : str, str or None, tuple of str
        Where it stands and what it is.
    nic_mbit_s : float or None
        Rate of the card that carries migrations, Mbit/s.
    nics : tuple of HostNic
        Its cards, where there are several or they are plugged into switches; instead of `nic_mbit_s`.
    cores, memory_mib : int or None
        What guests may use, if it is not what the host reports.
    reserved_memory_mib : int
        Memory kept for the host itself, MiB.
    cpu_overcommit, memory_overcommit : float
        Configured vCPUs a core; configured guest memory per MiB.
    maintenance : bool
        Whether it takes no guests.
    shell : str or None
        Words that, with a script behind them, run it on the host: ``ssh root@h1``. For measuring lines; by default
        ssh where `uri` is one of ssh.
    """

    uri: str
    name: str | None = None
    peer_uri: str | None = None
    site: str = "site-1"
    rack: str | None = None
    tags: tuple[str, ...] = ()
    nic_mbit_s: float | None = None
    nics: tuple[HostNic, ...] = ()
    cores: int | None = None
    memory_mib: int | None = None
    reserved_memory_mib: int = 0
    cpu_overcommit: float = 8.0
    memory_overcommit: float = 1.0
    maintenance: bool = False
    shell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """All that is declared.

    Parameters
    ----------
    hosts : tuple of DeclaredHost
        Hosts.
    shared_paths : tuple of str
        Folders that are one and the same on every host.
    networks : tuple of str
        Bridges that every host has, connected to each other; if none is named they are inferred.
    links : tuple of Link
        Lines between sites and switches.
    switches : tuple of str
        Switches.
    named : tuple of Network
        Networks whose bridge has another name on some hosts, or that only some hosts have; without hosts, all have it.
    """

    hosts: tuple[DeclaredHost, ...]
    shared_paths: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    switches: tuple[str, ...] = ()
    named: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedNetwork:
    """A network as a hosts file tells it, apart from its exceptions."""

    name: str
    bridge: str
    vlan: int | None = None
    hosts: tuple[str, ...] = ()


def estate_of(inventory: Inventory) -> Estate:
    """Return what must have been declared for this inventory, so that its hosts can be collected again."""
    everywhere = set(inventory.host_by_name)
    return Estate(
        hosts=tuple(_declared(host) for host in inventory.hosts if host.uri),
        shared_paths=tuple(
            store.path for store in inventory.datastores if store.kind == "shared_fs" and store.path is not None
        ),
        networks=tuple(
            network.bridge
            for network in inventory.networks
            if network.bridge == network.name and not _is_declared(network, inventory)
            if network.vlan is None and everywhere <= set(network.hosts)
        ),
        named=tuple(network for network in inventory.networks if _is_declared(network, inventory)),
        links=inventory.links,
        switches=tuple(switch.name for switch in inventory.switches),
    )


def _is_declared(network: Network, inventory: Inventory) -> bool:
    """Whether collecting alone would not have found it as it is: its bridges, its name, its reach beyond a site."""
    if not network.bridge or ":" in network.name or network.exceptions:
        return bool(network.exceptions)
    sites = {host.site for host in inventory.hosts if host.name in network.hosts}
    tag = "" if network.vlan is None else f".{network.vlan}"
    named = network.name not in {f"{network.bridge}{tag}", *(f"{network.bridge}@{site}{tag}" for site in sites)}
    return named or (len(sites) > 1 and not set(inventory.host_by_name) <= set(network.hosts))


def _declared(host: Host) -> DeclaredHost:
    return DeclaredHost(
        name=host.name,
        uri=host.uri or "",
        peer_uri=host.peer_uri,
        site=host.site,
        rack=host.rack,
        tags=host.tags,
        nics=host.nics,
        # Of a host that never answered the inventory holds stand-ins.
        cores=None if host.state == "unknown" else host.cores,
        memory_mib=None if host.state == "unknown" else host.memory_mib,
        reserved_memory_mib=host.reserved_memory_mib,
        cpu_overcommit=host.cpu_overcommit,
        memory_overcommit=host.memory_overcommit,
        maintenance=host.state == "maintenance",
    )


def read_hosts_file(path: Path) -> Estate:
    """Read a hosts file (YAML): ``hosts``, and if wanted ``shared_paths``, ``networks``, ``links`` and ``switches``.

    Raises
    ------
    InventoryError
        With every problem found, each with its place and its remedy.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(str(path), None, f"The file cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _wrong(str(path), None, f"This is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("hosts"), list) or not data["hosts"]:
        raise _wrong(str(path), "hosts", "A mapping with a list 'hosts' of at least one host was expected.")
    reader = _Reader(str(path))
    reader.known(data, {field.name for field in fields(Estate)} - {"named"}, "top level")
    plain, named = reader.networks(data)
    estate = Estate(
        hosts=tuple(
            row for i, item in enumerate(data["hosts"], 1) if (row := reader.record(DeclaredHost, item, f"hosts {i}"))
        ),
        shared_paths=reader.words(data, "shared_paths", "top level"),
        networks=plain,
        named=named,
        links=tuple(
            row
            for i, item in enumerate(reader.items(data, "links", "top level"), 1)
            if (row := reader.record(Link, item, f"links {i}"))
        ),
        switches=reader.words(data, "switches", "top level"),
    )
    names = [host.name for host in estate.hosts if host.name]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        reader.say(f"hosts '{name}'", "name", "The name is given twice.", "Rename one of them.")
    for host in estate.hosts:
        for key, uri in (("uri", host.uri), ("peer_uri", host.peer_uri)):
            try:
                check_uri(uri or "test:///")
            except HypervisorError as error:
                reader.say(f"hosts '{host.name or '?'}'", key, str(error), "")
    if reader.problems:
        raise InventoryError(*reader.problems)
    return estate


def _wrong(place: str, field: str | None, expected: str) -> InventoryError:
    return InventoryError(Problem(place=place, field=field, expected=expected, remedy=_EXAMPLE))


class _Reader:
    """Turns mappings into records and collects what is wrong with them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def say(self, record: str, field: str | None, expected: str, remedy: str = _EXAMPLE) -> None:
        self.problems.append(Problem(place=f"{self._file}: {record}", field=field, expected=expected, remedy=remedy))

    def known(self, data: Mapping[str, Any], names: set[str], record: str) -> None:
        for key in data:
            if key not in names:
                self.say(
                    record, str(key), f"There is no such field; known are {', '.join(sorted(names))}.", "Correct it."
                )

    def items(self, data: Mapping[str, Any], key: str, record: str) -> list[Any]:
        value = data.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        self.say(record, key, f"A list was expected, found {value!r}.", f"Write it as '{key}: [...]'.")
        return []

    def words(self, data: Mapping[str, Any], key: str, record: str) -> tuple[str, ...]:
        words = self.items(data, key, record)
        for word in words:
            if not isinstance(word, str) or not word:
                self.say(record, key, f"A list of names was expected, found {word!r} in it.", "Put it in quotes.")
        return tuple(word for word in words if isinstance(word, str) and word)

    def networks(self, data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Network, ...]]:
        """Return bridges that are called the same everywhere, and networks that are not."""
        plain, named = [], []
        for number, item in enumerate(self.items(data, "networks", "top level"), 1):
            if isinstance(item, str) and item:
                plain.append(item)
            elif isinstance(item, dict):
                named.append(self._network(item, f"networks {number}"))
            else:
                self.say("top level", "networks", f"A name or a mapping was expected, found {item!r} in it.")
        return tuple(plain), tuple(network for network in named if network is not None)

    def _network(self, item: dict[str, Any], record: str) -> Network | None:
        bridges = item.get("bridges") or {}
        rest = {key: value for key, value in item.items() if key != "bridges"}
        if not isinstance(bridges, dict) or not all(isinstance(word, str) and word for word in bridges.values()):
            self.say(record, "bridges", "A mapping of host to bridge was expected.", "Write 'bridges: {HOST: BRIDGE}'.")
            return None
        found: _NamedNetwork | None = self.record(_NamedNetwork, rest, record)
        if found is None:
            return None
        exceptions = tuple(HostBridge(host=str(host), bridge=bridge) for host, bridge in bridges.items())
        return Network(name=found.name, bridge=found.bridge, vlan=found.vlan, hosts=found.hosts, exceptions=exceptions)

    def record(self, kind: type[Any], item: object, record: str) -> Any:
        """Return a record of the kind, or None after having said what is wrong with it."""
        if not isinstance(item, dict):
            self.say(record, None, f"A mapping was expected, found {item!r}.")
            return None
        record = f"{record} '{item['name']}'" if isinstance(item.get("name"), str) else record
        before = len(self.problems)
        self.known(item, {field.name for field in fields(kind)}, record)
        values: dict[str, Any] = {}
        for field in fields(kind):
            if field.name in item:
                values[field.name] = self._value(item, field.name, str(field.type), record)
            elif field.default is MISSING:
                self.say(record, field.name, "It is missing.")
        return kind(**values) if len(self.problems) == before else None

    def _value(self, item: Mapping[str, Any], key: str, annotation: str, record: str) -> Any:
        value = item[key]
        if value is None and "None" in annotation:
            return None
        if "tuple[str" in annotation:
            return self.words(item, key, record)
        if "tuple[HostNic" in annotation:
            cards = enumerate(self.items(item, key, record), 1)
            rows = [self.record(HostNic, card, f"{record}, {key} {number}") for number, card in cards]
            return tuple(row for row in rows if row is not None)
        if "bool" in annotation:
            good, wanted = isinstance(value, bool), "true or false"
        elif "float" in annotation or "int" in annotation:
            least = 0 if key in ("rtt_ms", "loss", "other_mbit_s", "reserved_memory_mib") else math.ulp(0.0)
            whole = "float" not in annotation
            good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            good = good and math.isfinite(value) and value >= least and (key != "loss" or value <= 1)
            wanted = f"a {'whole ' if whole else ''}number {'from' if least == 0 else 'above'} 0"
        else:
            good, wanted = isinstance(value, str) and bool(value), "a text"
        if not good:
            self.say(record, key, f"{value!r} stands there, {wanted} was expected.", "Correct it.")
        return value
