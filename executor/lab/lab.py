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

import yaml

from drsim.errors import LabError
from executor.lab import config, domain, host, machine, namespace
from executor.lab.guest import GuestControl
from executor.lab.image import guest_image
from executor.lab.packages import kvm_usable
from executor.lab.probe import Probe
from executor.lab.state import HostState, LabState, is_marked, kill_all, lab_names, labs_root, load_state, marked_pids
from executor.lab.topology import LabGuest, LabHost, LabTopology, Line

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
            on_step("network")
            lab._start_fabric()
            on_step(f"{len(topology.hosts)} hosts")
            kvm = kvm_usable()[0]
            _side_by_side(lambda member: lab._start_host(member, kvm=kvm), topology.hosts)
            on_step(f"{len(topology.guests)} guests")
            _side_by_side(lambda guest: lab.boot(guest.name), topology.guests)
            (folder / "hosts.yaml").write_text(lab.hosts_file())
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

    def _start_fabric(self) -> None:
        folder = self.state.folder
        self.state.fabric_pid = namespace.start(folder, whole_host=False)
        self.state.client_pid = namespace.start(folder, whole_host=False)
        self._save()
        bridges = "".join(
            f"ip link add {name} type bridge stp_state 0 forward_delay 0\nip link set {name} up\n"
            for name in ("br-mig", "br-vm")
        )
        # Not with all namespaces entered: the number of the client's PID 1 is known outside only.
        plug = (
            f"ip link add v-client master br-vm type veth peer name eth0 netns /proc/{self.state.client_pid}/ns/net\n"
        )
        namespace.run_in_network(self.state.fabric_pid, bridges + plug + "ip link set v-client up\nip link set lo up\n")
        address = f"ip address add {config.CLIENT_IP}/24 dev eth0\nip link set eth0 up\nip link set lo up\n"
        namespace.run_in_network(self.state.client_pid, address)

    def _start_host(self, member: LabHost, *, kvm: bool) -> None:
        try:
            host.start_host(self.state, member, kvm=kvm)
        finally:
            self._save()

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
        if guest.datastore == "shared":
            disk = self.state.folder / "shared" / f"{name}.raw"
            outside = disk
        else:
            disk = Path(config.LOCAL_FOLDER, f"{name}.raw")
            outside = self.state.host_folder(guest.host) / "local" / f"{name}.raw"
        with outside.open("ab") as file:
            file.truncate(guest.disk_mib << 20)
        image = guest_image()
        text = domain.domain_xml(
            self.state.topology.name, guest, index, disk, image.kernel, image.initrd, kvm=kvm_usable()[0]
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

    def _guest(self, name: str) -> tuple[LabGuest, int]:
        for index, guest in enumerate(self.state.topology.guests, 1):
            if guest.name == name:
                return guest, index
        known = ", ".join(guest.name for guest in self.state.topology.guests)
        raise LabError(f"There is no guest '{name}' in the lab; there are {known}.")

    def guests_on(self, name: str) -> tuple[str, ...]:
        """Names of the guests that a host holds, in whatever state."""
        connection = self.connection(name)
        try:
            return tuple(sorted(found.name() for found in connection.listAllDomains()))
        finally:
            connection.close()

    def address(self, guest: str) -> str:
        """Address of a guest."""
        return config.guest_ip(self._guest(guest)[1])

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
        """By host the URI that the other hosts use."""
        return {name: f"qemu+tcp://{name}/system" for name in self.state.hosts}

    def hosts_file(self) -> str:
        """Text of the hosts file that ``drsim collect --hosts-file`` reads."""
        uris, peers = self.uris(), self.peer_uris()
        hosts = [
            {
                "name": member.name,
                "uri": uris[member.name],
                "peer_uri": peers[member.name],
                "site": member.site,
                "nic_mbit_s": member.line.rate_mbit_s or 10000.0,
            }
            for member in self.state.topology.hosts
        ]
        content = {"hosts": hosts, "shared_paths": [str(self.state.folder / "shared")], "networks": ["br0"]}
        return yaml.safe_dump(content, sort_keys=False)

    def is_up(self, name: str) -> bool:
        """Whether a host has power."""
        return is_marked(self._host(name).init_pid, self.state.folder)

    def _host(self, name: str) -> HostState:
        if name not in self.state.hosts:
            raise LabError(f"There is no host '{name}' in the lab; there are {', '.join(self.state.hosts)}.")
        return self.state.hosts[name]

    def line(self, name: str, **changes: float) -> None:
        """Reshape the migration line of a host: fields of `Line`."""
        self._host(name)
        members = tuple(
            replace(member, line=replace(member.line, **changes)) if member.name == name else member
            for member in self.state.topology.hosts
        )
        self.state.topology = replace(self.state.topology, hosts=members)
        line: Line = next(member.line for member in members if member.name == name)
        host.set_line(self.state, name, line)
        self._save()

    def cut(self, name: str, *, cut: bool = True) -> None:
        """Let the migration line of a host swallow everything, or heal it."""
        self._host(name)
        host.tell_line(self.state, name, f"cut {int(cut)}")

    def crash(self, name: str) -> None:
        """Power failure: the host, its daemon and its guests are gone at once."""
        own = self._host(name)
        for pid in (own.init_pid, own.link_pid):
            deadline = time.monotonic() + 5.0
            while is_marked(pid, self.state.folder) and time.monotonic() < deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)

    def restart(self, name: str) -> None:
        """Start a host again after a crash; its guests stay gone until they are booted."""
        own = self._host(name)
        if is_marked(own.init_pid, self.state.folder):
            raise LabError(f"{name} is up. Crash it first: drsim lab crash {name}")
        member = next(member for member in self.state.topology.hosts if member.name == name)
        self._start_host(member, kvm=kvm_usable()[0])

    def daemon(self, name: str, action: str) -> None:
        """Do something to libvirtd of a host: ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``continue`` or ``start``."""
        own = self._host(name)
        if action == "start":
            host.start_daemon(self.state, name)
            return
        signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
        namespace_id = os.readlink(f"/proc/{own.init_pid}/ns/pid")
        for pid in marked_pids(self.state.folder):
            try:
                same = os.readlink(f"/proc/{pid}/ns/pid") == namespace_id
                if same and Path(f"/proc/{pid}/comm").read_text().strip() == "libvirtd":
                    os.kill(pid, signals[action])
            except (FileNotFoundError, ProcessLookupError):
                continue

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
            }
        return {"name": self.state.topology.name, "hosts": hosts}


def take_down(folder: Path) -> None:
    """Take down the lab in a folder, however far it came up; nothing is left."""
    kill_all(folder)
    # The kernel takes mounts and interfaces apart with the namespaces, a moment after the last process.
    shutil.rmtree(folder, ignore_errors=False)
    root = labs_root()
    if root.is_dir() and not lab_names():
        root.rmdir()


def _side_by_side(do: Callable[[T], None], items: Sequence[T]) -> None:
    """Do something for each item at once; the first error is raised when all have ended."""
    if not items:
        return
    with ThreadPoolExecutor(len(items)) as pool:
        for future in [pool.submit(do, item) for item in items]:
            future.result()
