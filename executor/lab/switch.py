"""Open vSwitch in a namespace: a database and a switch of its own, in user space: no kernel module is needed."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from executor.lab import namespace
from executor.lab.extras import Tree, variables

HOST_RUN = "/run/openvswitch"
"""Where a host keeps the sockets of its switch: libvirt looks there."""

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def environment(folder: Path, tree: Tree, run: str) -> Mapping[str, str]:
    """Environment of the switch's programs."""
    return {**namespace.environment(folder), **variables((tree,)), "OVS_RUNDIR": run}


def start_script(tree: Tree, run: str) -> str:
    """Script that starts a switch that keeps its sockets, database and logs in the folder `run`."""
    schema = tree.find("vswitch.ovsschema")
    return f"""\
mkdir -p '{run}'
rm -f '{run}/conf.db' '{run}/.conf.db.~lock~'
ovsdb-tool create '{run}/conf.db' '{schema}'
ovsdb-server '{run}/conf.db' --remote='punix:{run}/db.sock' --pidfile --detach --no-chdir \\
    --log-file='{run}/ovsdb.log' -vconsole:off
ovs-vsctl --db='unix:{run}/db.sock' --no-wait init
ovs-vswitchd 'unix:{run}/db.sock' --pidfile --detach --no-chdir --log-file='{run}/switch.log' -vconsole:off
"""


def bridge_script(run: str, bridge: str) -> str:
    """Script that adds a bridge to a running switch."""
    vsctl = f"ovs-vsctl --db='unix:{run}/db.sock' --timeout=10"
    return f"{vsctl} add-br {bridge} -- set bridge {bridge} datapath_type=netdev\nip link set {bridge} up\n"


def port_script(run: str, bridge: str, port: str, vlan: int | None = None) -> str:
    """Script that plugs an interface into a bridge: all VLANs, or one and untagged at the port.

    In two steps: a switch that is told of both at once keeps to an interface of that name that is there no more.
    """
    tag = "" if vlan is None else f" tag={vlan}"
    vsctl = f"ovs-vsctl --db='unix:{run}/db.sock' --timeout=10"
    return (
        f"{vsctl} --if-exists del-port {bridge} {port}\n{vsctl} add-port {bridge} {port}{tag}\nip link set {port} up\n"
    )


def complete_checksums(pid: int, interface: str) -> None:
    """Let an interface send only frames with complete checksums: a switch in user space does not fill them in."""

    def change() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(any_socket.fileno(), _SIOCETHTOOL, request.ljust(40, b"\0"))

    namespace.in_network(pid, change)
