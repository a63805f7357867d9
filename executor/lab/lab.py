"""The lab itself: up, down, and what can be done to it in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from drsim.errors import LabError
from executor.lab import (
    cgroup,
    config,
    domain,
    extras,
    fabric,
    host,
    hosts_file,
    line,
    machine,
    namespace,
    pki,
    storage,
)
from executor.lab.capture import Capture
from executor.lab.guest import GuestControl
from executor.lab.image import guest_image
from executor.lab.packages import kvm_usable
from executor.lab.probe import Probe
from executor.lab.state import (
    HostState,
    LabState,
    has_ended,
    is_marked,
    kill_all,
    lab_names,
    labs_root,
    load_state,
    marked_pids,
)
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.lab.wire import Line, Wan

T = TypeVar("T")
BOOT_S = 90.0
"""How long a guest may take to boot on a busy machine, seconds."""


class Lab:
    """Several KVM hosts on this machine.

    Parameters
    ----------
    state : LabState
        What was started.
    """

    def __init__(self, state: LabState) -> None:
        self.state = state
        self._saving = threading.Lock()

    def _save(self) -> None:
        with self._saving:  # hosts are started side by side
            self.state.save()

    @classmethod
    def up(cls, topology: LabTopology, on_step: Callable[[str], None] = lambda step: None) -> Lab:
        """Bring a lab up and boot its guests.

        Parameters
        ----------
        topology : LabTopology
            What it consists of.
        on_step : callable, optional
            Told of each step as it is begun.

        Raises
        ------
        LabError
            If the machine lacks something, or the lab is up already. What was started is taken down again.
        """
        machine.require()
        folder = labs_root() / topology.name
        if folder.exists():
            raise LabError(
                f"The lab '{topology.name}' is up, in whole or in part: drsim lab down --name {topology.name}"
            )
        state = LabState(topology=topology)
        for index, member in enumerate(topology.hosts, 1):
            state.hosts[member.name] = HostState(
                index=index, uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{folder}/{index}"))
            )
        state.save()
        lab = cls(state)
        try:
            (folder / "shared").mkdir(exist_ok=True)
            for extra in extras.wanted(topology):
                extras.provide(extra)
            state.remark = cgroup.make(folder, topology)
            if state.remark:
                on_step(state.remark)
            pki.make_authorities(folder / "ca", tuple(dict.fromkeys(member.cluster for member in topology.hosts)))
            first = topology.hosts[0].cluster
            pki.make_certificate(folder / "ca", first, [folder / "client"], "client", config.CLIENT_MIGRATION_IP)
            on_step("network")
            fabric.start_fabric(state, lab._save)
            on_step(f"{len(topology.hosts)} hosts")
            kvm = kvm_usable()[0]
            _side_by_side(lambda member: lab._start_host(member, kvm=kvm), topology.hosts)
            guests = tuple(guest for guest in topology.guests if guest.autostart)
            on_step(f"{len(guests)} guests")
            # A boot is work for one core: more at once would all be late.
            _side_by_side(lambda guest: lab.boot(guest.name), guests, at_once=max(2, os.cpu_count() or 2))
            lab._write_hosts_files()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def load(cls, name: str = "lab") -> Lab:
        """Return a lab that is up.

        Raises
        ------
        LabError
            If there is none of that name.
        """
        return cls(load_state(name))

    def _start_host(self, member: LabHost, *, kvm: bool) -> None:
        host.start_host(self.state, member, self._save, kvm=kvm)

    def down(self) -> None:
        """Take everything down: processes, namespaces, mounts, interfaces, files.

        Raises
        ------
        LabError
            If a process does not end.
        """
        take_down(self.state.folder)

    def connection(self, name: str) -> Any:
        """Open a libvirt connection to a host (``libvirt.virConnect``).

        Raises
        ------
        LabError
            If the host is not up or libvirt's bindings are missing.
        """
        libvirt = machine.bindings()
        try:
            return libvirt.open(self.uris()[name])
        except libvirt.libvirtError as error:
            raise LabError(f"{name} cannot be reached: {error}. Is it down? drsim lab restart {name}") from error

    def boot(self, name: str) -> None:
        """Boot a guest on the host of the topology and wait until it answers.

        Raises
        ------
        LabError
            If it is up already, on whatever host, or does not come up.
        """
        guest, index = self._guest(name)
        for other in self.state.hosts:
            if self.is_up(other) and name in self.guests_on(other):
                raise LabError(f"Guest {name} runs on {other} already.")
        for number in range(len(guest.disks)):
            storage.make_disk(self.state, guest, number)
        image = guest_image()
        network = self.state.topology.network_of(guest)
        port = domain.Port(
            network=network, bridge=network.bridge_on(guest.host) or network.bridge, segment=self._segment(guest)
        )
        places = [storage.disk_place(self.state, guest, number) for number in range(len(guest.disks))]
        text = domain.domain_xml(
            self.state.topology.name, guest, index, places, port, image.kernel, image.initrd, kvm=kvm_usable()[0]
        )
        connection = self.connection(guest.host)
        try:
            connection.createXML(text, 0)
        finally:
            connection.close()
        with self.control(name, wait_s=BOOT_S) as control:
            deadline = time.monotonic() + BOOT_S
            while control.stat().get("ws") != guest.working_set_mib and time.monotonic() < deadline:
                time.sleep(0.05)

    def shut(self, name: str) -> None:
        """Switch a guest off, wherever it is and in whatever state; its disks stay."""
        for other in self.state.hosts:
            if self.is_up(other) and name in self.guests_on(other):
                connection = self.connection(other)
                try:
                    connection.lookupByName(name).destroy()
                finally:
                    connection.close()

    def _guest(self, name: str) -> tuple[LabGuest, int]:
        for index, guest in enumerate(self.state.topology.guests, 1):
            if guest.name == name:
                return guest, index
        known = ", ".join(guest.name for guest in self.state.topology.guests)
        raise LabError(f"There is no guest '{name}' in the lab; there are {known}.")

    def _segment(self, guest: LabGuest) -> int:
        wanted = (self.state.topology.network_of(guest).name, guest.vlan)
        segments = self.state.topology.segments()
        return [(network.name, vlan) for network, vlan in segments].index(wanted)

    def guests_on(self, name: str) -> tuple[str, ...]:
        """Names of the guests that a host holds, in whatever state."""
        connection = self.connection(name)
        try:
            return tuple(sorted(found.name() for found in connection.listAllDomains()))
        finally:
            connection.close()

    def address(self, guest: str) -> str:
        """Address of a guest."""
        member, index = self._guest(guest)
        return config.guest_ip(index, self._segment(member))

    def control(self, guest: str, wait_s: float = 5.0) -> GuestControl:
        """Open a line to the control port of a guest."""
        return GuestControl(self.state.client_pid, self.address(guest), wait_s)

    def probe(self, guests: Sequence[str] | None = None) -> Probe:
        """Hold connections to the guests (all by default) and watch them from the client's side."""
        names = [guest.name for guest in self.state.topology.guests] if guests is None else guests
        return Probe(self.state.client_pid, self.state.folder, {name: self.address(name) for name in names})

    def uris(self) -> dict[str, str]:
        """By host the URI that a controller on this machine uses."""
        return {name: f"qemu+unix:///system?socket={self.state.socket(name)}" for name in self.state.hosts}

    def peer_uris(self) -> dict[str, str]:
        """By host the URI that the other hosts use: over TLS if the topology says so."""
        if self.state.topology.tls:
            return {name: f"qemu+tls://{name}/system?pkipath={config.PEER_PKI}" for name in self.state.hosts}
        return {name: f"qemu+tcp://{name}/system" for name in self.state.hosts}

    def hosts_file(self, cluster: str | None = None) -> str:
        """Text of the hosts file that ``drsim collect --hosts-file`` reads: of all hosts, or of those of a cluster."""
        return hosts_file.hosts_file(
            self.state.topology,
            uris=self.uris(),
            peer_uris=self.peer_uris(),
            shells={name: f"nsenter -t {own.init_pid} -a -- sh -c" for name, own in self.state.hosts.items()},
            shared_path=str(self.state.folder / "shared"),
            cluster=cluster,
        )

    def _write_hosts_files(self) -> None:
        (self.state.folder / "hosts.yaml").write_text(self.hosts_file())
        clusters = {member.cluster for member in self.state.topology.hosts}
        if len(clusters) > 1:
            for cluster in clusters:
                (self.state.folder / f"hosts-{cluster}.yaml").write_text(self.hosts_file(cluster))

    def is_up(self, name: str) -> bool:
        """Whether a host has power."""
        return is_marked(self._host(name).init_pid, self.state.folder)

    def _host(self, name: str) -> HostState:
        if name not in self.state.hosts:
            raise LabError(f"There is no host '{name}' in the lab; there are {', '.join(self.state.hosts)}.")
        return self.state.hosts[name]

    def line(self, name: str, **changes: Any) -> None:
        """Reshape the migration line of a host: fields of `Line`."""
        self._host(name)
        members = tuple(
            replace(member, line=replace(member.line, **changes)) if member.name == name else member
            for member in self.state.topology.hosts
        )
        self.state.topology = replace(self.state.topology, hosts=members)
        wanted: Line = next(member.line for member in members if member.name == name)
        line.shape(self.state.line_control(name), wanted, hops=2)
        self._save()
        self._write_hosts_files()

    def cut(self, name: str, *, cut: bool = True) -> None:
        """Let the migration line of a host swallow everything, or heal it."""
        self._host(name)
        line.tell(self.state.line_control(name), f"cut {int(cut)}")
        self._note_cut(name, cut=cut)

    def _note_cut(self, name: str, *, cut: bool) -> None:
        others = tuple(each for each in self.state.cut if each != name)
        self.state.cut = (*others, name) if cut else others
        self._save()

    def _wan(self, a: str, b: str) -> Wan:
        for link in self.state.topology.links:
            if {link.a, link.b} == {a, b}:
                return link
        known = ", ".join(link.name for link in self.state.topology.links) or "none"
        raise LabError(f"There is no link between the sites '{a}' and '{b}'; there are: {known}.")

    def wan(self, a: str, b: str, **changes: Any) -> None:
        """Reshape the line between two sites: fields of `Line`."""
        link = self._wan(a, b)
        settings: dict[str, Any] = {**changes}
        changed = replace(link, **settings)
        links = tuple(changed if each == link else each for each in self.state.topology.links)
        self.state.topology = replace(self.state.topology, links=links)
        line.shape(self.state.wan_control(link.name), changed.line, hops=1)
        self._save()
        self._write_hosts_files()

    def cut_wan(self, a: str, b: str, *, cut: bool = True) -> None:
        """Let the line between two sites swallow everything, or heal it."""
        name = self._wan(a, b).name
        line.tell(self.state.wan_control(name), f"cut {int(cut)}")
        self._note_cut(name, cut=cut)

    def certificate(self, name: str, condition: pki.Condition) -> None:
        """Replace the certificate of a host by one that is ``good``, ``expired``, ``missing`` or ``foreign``.

        QEMU and the daemon as a client read it for each connection. As a server the daemon has read it when it
        started: over TLS it is started again, unless the certificate is missing, without which it would not start.
        """
        self._host(name)
        member = next(member for member in self.state.topology.hosts if member.name == name)
        host.certify(self.state, member, condition)
        if self.state.topology.tls and condition != "missing" and self.is_up(name):
            self.daemon(name, "kill")
            self.daemon(name, "start")

    def crash(self, name: str) -> None:
        """Power failure: the host, its daemon and its guests are gone at once, without a word to anybody.

        Its lines go silent first, or its kernel would take leave of its peers for it.
        """
        own = self._host(name)
        with contextlib.suppress(LabError):  # it has crashed already
            fabric.silence(self.state, name)
        for pid in (own.link_pid, own.init_pid):
            if is_marked(pid, self.state.folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 5.0
            while not has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.005)

    def restart(self, name: str) -> None:
        """Start a host again after a crash; its guests stay gone until they are booted."""
        own = self._host(name)
        if is_marked(own.init_pid, self.state.folder):
            raise LabError(f"{name} is up. Crash it first: drsim lab crash {name}")
        member = next(member for member in self.state.topology.hosts if member.name == name)
        self._start_host(member, kvm=kvm_usable()[0])
        self._note_cut(name, cut=False)  # its line is a new one
        self._write_hosts_files()  # and so is its PID 1

    def daemon(self, name: str, action: str) -> None:
        """Do something to libvirtd of a host: ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``continue`` or ``start``."""
        own = self._host(name)
        if action == "start":
            host.start_daemon(self.state, name)
            return
        signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
        for pid in self._daemons(own):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signals[action])
            # What answers on its socket afterwards must be the next one.
            deadline = time.monotonic() + 5.0
            while action == "kill" and not has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.005)

    def _daemons(self, own: HostState) -> list[int]:
        namespace_id = os.readlink(f"/proc/{own.init_pid}/ns/pid")
        found = []
        for pid in marked_pids(self.state.folder):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                same = os.readlink(f"/proc/{pid}/ns/pid") == namespace_id
                if same and Path(f"/proc/{pid}/comm").read_text().strip() == "libvirtd":
                    found.append(pid)
        return found

    def daemon_pid(self, name: str) -> int:
        """Process number of a host's libvirtd, as seen from outside.

        Raises
        ------
        LabError
            If it does not run.
        """
        found = self._daemons(self._host(name))
        if not found:
            raise LabError(f"libvirtd of {name} does not run.")
        return found[0]

    def capture(self, name: str, network: str | None = None) -> Capture:
        """Listen for announcements of guests where a host's bridge meets the wire (of the first network by default).

        Raises
        ------
        LabError
            If the host does not have the network.
        """
        own = self._host(name)
        for number, each in enumerate(self.state.topology.networks):
            if network in (None, each.name) and each.bridge_on(name) is not None:
                return Capture(own.init_pid, f"{'vx' if each.kind == 'vxlan' else 'trunk'}{number}")
        raise LabError(f"{name} does not have a network '{network}'.")

    def client_command(self, *command: str) -> tuple[str, ...]:
        """Return the words that run a command where the client is: from there a controller reaches hosts over TLS."""
        return ("nsenter", f"--net=/proc/{self.state.client_pid}/ns/net", "--", *command)

    def tls_uris(self) -> dict[str, str]:
        """By host the URI of its TLS port, for a controller run where the client is (`client_command`)."""
        pki_folder = self.state.folder / "client"
        return {
            name: f"qemu+tls://{config.migration_ip(own.index)}/system?pkipath={pki_folder}"
            for name, own in self.state.hosts.items()
        }

    def run(self, name: str, script: str) -> str:
        """Run a shell script inside a host and return what it prints."""
        return namespace.run(self._host(name).init_pid, script, folder=self.state.folder, check=False)

    def status(self) -> dict[str, Any]:
        """Return what is up: per host whether it lives, its line and its guests."""
        hosts = {}
        for member in self.state.topology.hosts:
            alive = self.is_up(member.name)
            try:
                guests: tuple[str, ...] | None = self.guests_on(member.name) if alive else ()
            except LabError:
                guests = None
            hosts[member.name] = {
                "up": alive,
                "guests": guests,
                "rate_mbit_s": member.line.rate_mbit_s,
                "rtt_ms": member.line.rtt_ms,
                "loss": member.line.loss,
                "site": member.site,
                "cluster": member.cluster,
                "cut": member.name in self.state.cut,
            }
        links = {
            link.name: {
                "rate_mbit_s": link.rate_mbit_s,
                "rtt_ms": link.rtt_ms,
                "loss": link.loss,
                "cut": link.name in self.state.cut,
            }
            for link in self.state.topology.links
        }
        return {"name": self.state.topology.name, "hosts": hosts, "links": links, "remark": self.state.remark}


def take_down(folder: Path) -> None:
    """Take down the lab in a folder, however far it came up; nothing is left."""
    kill_all(folder)
    cgroup.remove(folder)
    # The kernel takes mounts and interfaces apart with the namespaces, a moment after the last process.
    shutil.rmtree(folder, ignore_errors=False)
    root = labs_root()
    if root.is_dir() and not lab_names():
        root.rmdir()


def _side_by_side(do: Callable[[T], None], items: Sequence[T], *, at_once: int | None = None) -> None:
    """Do something for the items, all or so many at once; the first error is raised when all have ended."""
    if not items:
        return
    with ThreadPoolExecutor(min(at_once or len(items), len(items))) as pool:
        for future in [pool.submit(do, item) for item in items]:
            future.result()
