"""Files that a host of the lab is configured with. Each setting says why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from executor.lab.monitor import FILTERS
from executor.lab.topology import LabTopology

KEEPALIVE_S, KEEPALIVE_COUNT = 5, 5
"""A peer that is gone is noticed after about 30 s."""


def migration_ip(index: int) -> str:
    """Address of a host on the migration network."""
    return f"10.10.0.{10 + index}"


def storage_host_ip(index: int) -> str:
    """Address of a host on the storage network."""
    return f"10.30.0.{10 + index}"


STORAGE_IP = "10.30.0.1"
"""Address of the storage server."""


def guest_ip(index: int, segment: int = 0) -> str:
    """Address of a guest on the n-th segment of the guests' networks."""
    return f"10.20.{segment}.{100 + index}"


def client_ip(segment: int = 0) -> str:
    """Address of the client that talks to the guests of a segment."""
    return f"10.20.{segment}.1"


CLIENT_MIGRATION_IP = "10.10.0.1"
"""Address of the client on the migration network: a controller that is run there can reach the hosts over TLS."""

PEER_PKI = "/etc/libvirt/pki"
"""Where libvirtd of a host finds its certificate."""

VXLAN_PORT = 4789
VXLAN_MTU = 1450
"""What is left of 1500 bytes within a tunnel."""


def libvirtd_conf(uuid: str, *, tls: bool, monitor_log: bool = False) -> str:
    """Configure the daemon: TCP for its peers on a network that nobody else is on, a unix socket for the controller.

    Parameters
    ----------
    uuid : str
        The host's own: daemons with equal UUIDs take a migration for one to themselves.
    tls : bool
        Whether it listens on TLS, too. A certificate that is no good must not keep it from starting: that is for its
        peers to find out.
    monitor_log : bool
        Whether it notes what passes between it and QEMU (`executor.lab.monitor`).
    """
    plain = 'log_filters = "3:*"\nlog_outputs = "2:file:/var/log/libvirt/libvirtd.log"\n'
    return f"""\
listen_tls = {int(tls)}
listen_tcp = 1
key_file = "{PEER_PKI}/serverkey.pem"
cert_file = "{PEER_PKI}/servercert.pem"
ca_file = "{PEER_PKI}/cacert.pem"
tls_no_sanity_certificate = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
keepalive_interval = {KEEPALIVE_S}
keepalive_count = {KEEPALIVE_COUNT}
{FILTERS if monitor_log else plain}"""


def qemu_conf(own_ip: str, certificates: Path, shared: Path) -> str:
    """Configure the QEMU driver for a machine without init system, cgroups of its own, or log daemon.

    Parameters
    ----------
    own_ip : str
        Address that the other hosts send memory to.
    certificates : Path
        Folder of its certificate; the driver does not start without it.
    shared : Path
        Folder that every host sees; libvirt cannot tell by itself that it is safe to migrate over.
    """
    return f"""\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
lock_manager = "nop"
migration_address = "0.0.0.0"
migration_host = "{own_ip}"
migration_port_min = 49152
migration_port_max = 49215
default_tls_x509_cert_dir = "{certificates}"
default_tls_x509_verify = 1
keepalive_interval = {KEEPALIVE_S}
keepalive_count = {KEEPALIVE_COUNT}
shared_filesystems = ["{shared}"]
"""


def hosts_file(topology: LabTopology) -> str:
    """Give every host the names of all."""
    lines = ["127.0.0.1 localhost"]
    lines += [f"{migration_ip(i)} {host.name}" for i, host in enumerate(topology.hosts, 1)]
    return "\n".join(lines) + "\n"


def with_accounts(text: str, kind: str) -> str:
    """Add the accounts that libvirtd and rpcbind look up when they start, even if told to use root."""
    lines = {
        "passwd": {
            "libvirt-qemu": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin",
            "_rpc": "_rpc:x:64057:65534::/run/rpcbind:/usr/sbin/nologin",
        },
        "group": {"libvirt-qemu": "libvirt-qemu:x:64055:", "kvm": "kvm:x:64056:"},
    }[kind]
    present = {line.partition(":")[0] for line in text.splitlines()}
    return text + "".join(line + "\n" for name, line in lines.items() if name not in present)


BINDS = (
    ("run", "/run"),
    ("etc", "/etc/libvirt"),
    ("varlib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
    ("local", "/srv"),
    ("hosts", "/etc/hosts"),
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
)
"""Folders and files of a host, and where it sees them: everything that libvirtd writes to is the host's own."""

LOCAL_FOLDER = "/srv"
"""Where a host keeps disks that no other host sees."""


def mounts_script(folder: Path, *, kvm: bool) -> str:
    """Script, run inside a new host, that gives it folders of its own and a /dev without KVM where KVM does not work.

    A /dev/kvm that is there but cannot be used makes libvirt probe QEMU anew for every guest.
    """
    lines = [f"mount --bind '{folder / source}' {target}" for source, target in BINDS]
    if not kvm:
        lines += [
            "mkdir -p /run/dev",
            "mount -t tmpfs -o mode=755 lab /run/dev",
            "cd /run/dev",
            "mkdir net pts shm",
            "for n in null zero full random urandom tty userfaultfd net/tun; do",
            '    if [ -e "/dev/$n" ]; then cp -a "/dev/$n" "$n"; fi',
            "done",
            "mount -t devpts -o newinstance,ptmxmode=0666,mode=600 lab pts",
            "ln -s pts/ptmx ptmx",
            "ln -s /proc/self/fd fd",
            "mount -t tmpfs lab shm",
            "mount --move /run/dev /dev",
        ]
    return "\n".join(lines) + "\n"


TUNED = "sysctl -qw net.ipv4.tcp_notsent_lowat=131072 net.ipv4.tcp_slow_start_after_idle=0\n"
"""What a guest's last pages wait for is what lies unsent in the socket before them: let that be little."""


def network_script(host: str, own_ip: str, *, tuned: bool = False) -> str:
    """Script, run inside a new host, that sets its name and its migration card (already there).

    The socket buffers hold 1 Gbit/s over 100 ms; with the kernel's own limits the line would be window-limited to a
    quarter of that. The card keeps its address when the host comes back after a power failure, as cards do: others
    would go on sending to the old one for half a minute.
    """
    mac = "02:64:" + ":".join(f"{int(part):02x}" for part in own_ip.split("."))
    return f"""\
hostname {host}
ip link set lo up
ip link set mig0 address {mac}
ip address add {own_ip}/24 dev mig0
sysctl -qw net.ipv4.tcp_congestion_control=cubic || true
sysctl -qw net.ipv4.tcp_wmem='4096 131072 67108864' net.ipv4.tcp_rmem='4096 131072 67108864' || true
{TUNED if tuned else ""}"""


def storage_script(own_ip: str) -> str:
    """Script, run inside a new host, that sets up its storage card (already there)."""
    return f"ip address add {own_ip}/24 dev sto0\nip link set sto0 up\n"


def bridge_script(bridge: str, port: str) -> str:
    """Script that makes a bridge and plugs an interface into it."""
    return (
        f"ip link add {bridge} type bridge stp_state 0 forward_delay 0\n"
        f"ip link set {port} master {bridge} up\nip link set {bridge} up\n"
    )


def tunnel_script(interface: str, number: int, own_ip: str, peers: Sequence[str]) -> str:
    """Script that makes one end of a VXLAN: a frame for all goes to every peer, what comes from where is learned."""
    lines = [
        f"ip link add {interface} mtu {VXLAN_MTU} type vxlan id {100 + number} local {own_ip} dstport {VXLAN_PORT}"
    ]
    lines += [f"bridge fdb append 00:00:00:00:00:00 dev {interface} dst {peer}" for peer in peers if peer != own_ip]
    return "\n".join(lines) + f"\nip link set {interface} up\n"
