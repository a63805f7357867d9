"""The storage server of a lab: iSCSI by tgt and NFS by nfs-ganesha, both in user space, in namespaces of their own."""

from __future__ import annotations

import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drsim.errors import LabError
from executor.lab import cgroup, config, extras, namespace
from executor.lab.state import LabState
from executor.lab.topology import NETWORKED, LabDisk, LabGuest

IQN = "iqn.2026-01.org.drsim"
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlace:
    """Where a disk lies, as libvirt is told.

    Parameters
    ----------
    kind : {"file", "iscsi", "nfs"}
        How QEMU reads it.
    name : str
        Path on its host, or on the server; for iSCSI target and unit.
    format : {"raw", "qcow2"}
        What is in it.
    """

    kind: Literal["file", "iscsi", "nfs"]
    name: str
    format: Literal["raw", "qcow2"]


def target_name(number: int) -> str:
    """Name of a guest's n-th disk in the guest, from 0: vda, vdb, ..."""
    return f"vd{chr(ord('a') + number)}"


def disk_place(state: LabState, guest: LabGuest, number: int) -> DiskPlace:
    """Say where a guest's n-th disk lies, as its hosts see it."""
    disk, target = guest.disks[number], target_name(number)
    # The first disk of a guest is named after the guest alone.
    stem = guest.name if number == 0 else f"{guest.name}-{target}"
    match disk.datastore:
        case "iscsi":
            return DiskPlace(kind="iscsi", name=f"{IQN}:{guest.name}.{target}/1", format=disk.format)
        case "nfs":
            return DiskPlace(kind="nfs", name=str(nfs_folder(state) / f"{stem}.{disk.format}"), format=disk.format)
        case "local":
            return DiskPlace(kind="file", name=f"{config.LOCAL_FOLDER}/{stem}.{disk.format}", format=disk.format)
        case _:
            path = state.folder / "shared" / f"{stem}.{disk.format}"
            return DiskPlace(kind="file", name=str(path), format=disk.format)


def nfs_folder(state: LabState) -> Path:
    """Folder that the NFS server exports."""
    return state.folder / "storage" / "nfs"


def make_disk(state: LabState, guest: LabGuest, number: int) -> None:
    """Make a guest's n-th disk; one that is there already keeps its content.

    Raises
    ------
    LabError
        If it cannot be made.
    """
    disk, place = guest.disks[number], disk_place(state, guest, number)
    match disk.datastore:
        case "iscsi":
            backing = state.folder / "storage" / "iscsi" / f"{guest.name}.{target_name(number)}"
            if not backing.exists():
                _create(state, str(backing), disk, state.storage_pid)
                # QCOW2 grows; a unit does not: it gets what the worst case takes.
                size = (disk.size_mib << 20) * (9 if disk.format == "qcow2" else 8) // 8 + (1 << 20)
                with backing.open("ab") as file:
                    file.truncate(size if disk.format == "qcow2" else disk.size_mib << 20)
            _export(state, place.name.partition("/")[0], backing)
        case "nfs":
            _create(state, place.name, disk, state.storage_pid)
        case "local":
            _create(state, place.name, disk, state.hosts[guest.host].init_pid)
        case _:
            _create(state, place.name, disk, state.fabric_pid)


def _create(state: LabState, path: str, disk: LabDisk, pid: int) -> None:
    base = ""
    if disk.base_mib:
        image = state.folder / "shared" / f"base-{disk.base_mib}.raw"
        if not image.exists():
            image.write_bytes(random.Random(disk.base_mib).randbytes(disk.base_mib << 20))
        base = f"-b '{image}' -F raw"
    make = f"qemu-img create -q -f {disk.format} {base} '{path}' {disk.size_mib}M"
    namespace.run(pid, f"test -e '{path}' || {make}", folder=state.folder)


def start_storage(state: LabState) -> None:
    """Start the servers that the topology asks for, in a namespace whose number is in the state already.

    Raises
    ------
    LabError
        If one does not come up, with the end of its log.
    """
    folder = state.folder / "storage"
    for name in ("run/rpcbind", "run/ganesha", "iscsi", "nfs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for kind in ("passwd", "group"):
        (folder / kind).write_text(config.with_accounts(Path("/etc", kind).read_text(), kind))
    binds = (("run", "/run"), ("passwd", "/etc/passwd"), ("group", "/etc/group"))
    mounts = "".join(f"mount --bind '{folder / name}' {target}\n" for name, target in binds)
    # The server of NFS wants a file system with handles, which the layered one of a container is not.
    layered = f'if [ "$(stat -f -c %T "{folder}/nfs")" = overlayfs ]; then mount -t tmpfs lab "{folder}/nfs"; fi\n'
    namespace.run(state.storage_pid, f"{mounts}{layered}hostname storage\nip link set lo up\n", folder=state.folder)
    namespace.run_in_network(
        state.fabric_pid,
        "ip link add br-sto type bridge stp_state 0 forward_delay 0\n"
        "ip link set br-sto up\n"
        f"ip link add s-server master br-sto type veth peer name sto0 netns /proc/{state.storage_pid}/ns/net\n"
        "ip link set s-server up\n",
        folder=state.folder,
    )
    namespace.run_in_network(
        state.storage_pid,
        f"ip address add {config.STORAGE_IP}/24 dev sto0\nip link set sto0 up\n",
        folder=state.folder,
    )
    stores = state.topology.datastores & set(NETWORKED)
    if "iscsi" in stores:
        _start_iscsi(state, folder)
    if "nfs" in stores:
        _start_nfs(state, folder)


def _start(state: LabState, tree: extras.Tree, log: Path, *command: str) -> subprocess.Popen[bytes]:
    group = cgroup.group_of(state.folder, cgroup.FABRIC)
    with log.open("a") as file:
        return subprocess.Popen(
            [*namespace.inside(group), "nsenter", "-t", str(state.storage_pid), "-a", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**namespace.environment(state.folder), **extras.variables((tree,))},
        )


def _start_iscsi(state: LabState, folder: Path) -> None:
    tree, log = extras.provide(extras.ISCSI), folder / "tgtd.log"
    portal = f"portal={config.STORAGE_IP}:3260"
    process = _start(state, tree, log, str(tree.find("tgtd")), "-f", "-C", "0", "--iscsi", portal)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        if "ready" in _tgtadm(state, "--mode sys --op show", check=False):
            return
        time.sleep(0.02)
    raise LabError(f"The iSCSI server does not come up: {log.read_text()[-400:]}")


def _tgtadm(state: LabState, *arguments: str, check: bool = True) -> str:
    program = extras.provide(extras.ISCSI).find("tgtadm")
    script = "".join(f"'{program}' --lld iscsi {each}\n" for each in arguments)
    return namespace.run(state.storage_pid, script, folder=state.folder, check=check)


def _export(state: LabState, target: str, backing: Path) -> None:
    if target in _tgtadm(state, "--mode target --op show"):
        return
    numbers = {guest.name: number for number, guest in enumerate(state.topology.guests)}
    name, _, disk = target.partition(":")[2].rpartition(".")
    tid = numbers[name] * 8 + ord(disk[-1]) - ord("a") + 1
    _tgtadm(
        state,
        f"--mode target --op new --tid {tid} --targetname {target}",
        f"--mode logicalunit --op new --tid {tid} --lun 1 --backing-store '{backing}'",
        f"--mode target --op bind --tid {tid} --initiator-address ALL",
    )


def _start_nfs(state: LabState, folder: Path) -> None:
    tree, log = extras.provide(extras.NFS), folder / "ganesha.log"
    settings = folder / "ganesha.conf"
    settings.write_text(_ganesha(tree.find("libfsalvfs.so").parent, nfs_folder(state)))
    _start(state, tree, folder / "rpcbind.log", str(tree.find("rpcbind")), "-f", "-w")
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "run" / "rpcbind.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    command = (str(tree.find("ganesha.nfsd")), "-F", "-f", str(settings), "-L", str(log), "-p", "/run/ganesha.pid")
    process = _start(state, tree, folder / "ganesha.out", *command)
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and "NFS SERVER INITIALIZED" in log.read_text():
            return
        time.sleep(0.02)
    raise LabError(f"The NFS server does not come up: {log.read_text()[-400:] if log.exists() else ''}")


def _ganesha(plugins: Path, exported: Path) -> str:
    """Configure NFS 3 over TCP, which QEMU's driver speaks, and nothing that it does not use."""
    return f"""\
NFS_CORE_PARAM {{
    Protocols = 3;
    Enable_UDP = false;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    Plugins_Dir = {plugins};
}}
NFSV4 {{ UseGetpwnam = true; Graceless = true; }}
EXPORT {{
    Export_Id = 1;
    Path = {exported};
    Pseudo = /nfs;
    Access_Type = RW;
    Squash = No_Root_Squash;
    Protocols = 3;
    Transports = TCP;
    SecType = sys;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""
