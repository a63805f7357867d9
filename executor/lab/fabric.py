"""What lies between the hosts: bridges, the lines between sites, the client, and the sockets that hosts plug into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from executor.lab import cgroup, config, extras, line, namespace, storage, switch
from executor.lab.state import LabState
from executor.lab.topology import NETWORKED
from executor.lab.wire import LabNetwork


def start_fabric(state: LabState, save: Callable[[], None]) -> None:
    """Start the namespaces of the fabric, the client and the storage server, and connect them.

    Parameters
    ----------
    state : LabState
        Where the numbers of what is started go.
    save : callable
        Called after each, before it is used.

    Raises
    ------
    LabError
        If a step fails.
    """
    group = cgroup.group_of(state.folder, cgroup.FABRIC)
    state.fabric_pid = namespace.start(state.folder, whole_host=False, group=group)
    save()
    state.client_pid = namespace.start(state.folder, whole_host=False, group=group)
    save()
    _bridges(state)
    _client(state)
    _lines(state, save)
    if state.topology.datastores & set(NETWORKED):
        state.storage_pid = namespace.start(state.folder, whole_host=True, group=group)
        save()
        storage.start_storage(state)


def has_switch(state: LabState, host: str | None = None) -> bool:
    """Whether a host (None: the fabric) runs Open vSwitch."""
    return any(
        network.kind == "ovs" and (host is None or network.bridge_on(host)) for network in state.topology.networks
    )


def _switch_run(state: LabState) -> str:
    return str(state.folder / "switch")


def _run(state: LabState, script: str) -> None:
    """Run a script in the fabric's network, able to speak to the fabric's switch."""
    run = _switch_run(state)
    env = switch.environment(state.folder, extras.provide(extras.SWITCH), run) if has_switch(state) else None
    prefix = ["nsenter", f"--net=/proc/{state.fabric_pid}/ns/net"]
    namespace.shell(prefix, script, env or namespace.environment(state.folder))


def _bridges(state: LabState) -> None:
    if has_switch(state):
        tree = extras.provide(extras.SWITCH)
        env = switch.environment(state.folder, tree, _switch_run(state))
        prefix = ["nsenter", "-t", str(state.fabric_pid), "-a"]
        namespace.shell(prefix, switch.start_script(tree, _switch_run(state)), env)
    names = [f"mig-{number}" for number in range(len(state.topology.sites))]
    script = "ip link set lo up\n"
    for number, network in enumerate(state.topology.networks):
        if network.kind == "linux":
            names.append(f"net{number}")
        elif network.kind == "ovs":
            script += switch.bridge_script(_switch_run(state), f"net{number}")
    for name in names:
        script += f"ip link add {name} type bridge stp_state 0 forward_delay 0\nip link set {name} up\n"
    _run(state, script)


def _client(state: LabState) -> None:
    """Plug the client into the migration network of the first site and into every segment of the guests' networks."""
    peer = f"netns /proc/{state.client_pid}/ns/net"
    outside = f"ip link add c-mig master mig-0 type veth peer name mig0 {peer}\nip link set c-mig up\n"
    inside = f"ip link set lo up\nip address add {config.CLIENT_MIGRATION_IP}/24 dev mig0\nip link set mig0 up\n"
    numbers = {network.name: number for number, network in enumerate(state.topology.networks)}
    plain = []
    for segment, (network, vlan) in enumerate(state.topology.segments()):
        number = numbers[network.name]
        if network.kind == "vxlan":
            inside += config.tunnel_script(
                f"eth{segment}", number, config.CLIENT_MIGRATION_IP, tunnel_ends(state, network)
            )
        else:
            outside += f"ip link add c{segment} type veth peer name eth{segment} {peer}\n"
            outside += _plug(state, network, number, f"c{segment}", vlan)
        if network.kind == "ovs":
            plain.append(f"eth{segment}")
        inside += f"ip address add {config.client_ip(segment)}/24 dev eth{segment}\nip link set eth{segment} up\n"
    _run(state, outside)
    namespace.run_in_network(state.client_pid, inside, folder=state.folder)
    for interface in plain:
        switch.complete_checksums(state.client_pid, interface)


def _plug(state: LabState, network: LabNetwork, number: int, port: str, vlan: int | None = None) -> str:
    if network.kind == "ovs":
        return switch.port_script(_switch_run(state), f"net{number}", port, vlan)
    return f"ip link set {port} master net{number} up\n"


def tunnel_ends(state: LabState, network: LabNetwork) -> Sequence[str]:
    """Addresses of all ends of a network of tunnels."""
    hosts = [host.name for host in state.topology.hosts if network.bridge_on(host.name)]
    return (config.CLIENT_MIGRATION_IP, *(config.migration_ip(state.hosts[host].index) for host in hosts))


def _lines(state: LabState, save: Callable[[], None]) -> None:
    """Join every two sites by a line. A site's ends of two lines never speak to each other, so there are no loops."""
    sites = state.topology.sites
    links = {frozenset((link.a, link.b)): link for link in state.topology.links}
    group = cgroup.group_of(state.folder, cgroup.FABRIC)
    for (i, a), (j, b) in combinations(enumerate(sites), 2):
        link = links[frozenset((a, b))]
        control = state.wan_control(link.name)
        ends = (
            line.End(pid=state.fabric_pid, interface=f"w{i}-{j}"),
            line.End(pid=state.fabric_pid, interface=f"w{j}-{i}"),
        )
        state.wan_pids[link.name] = line.start_line(state.folder, control, ends, group)
        save()
        line.shape(control, link.line, hops=1)
        plug = "".join(
            f"ip link set w{x}-{y} master mig-{x} up\nbridge link set dev w{x}-{y} isolated on\n"
            for x, y in ((i, j), (j, i))
        )
        _run(state, plug)


def plug_host(state: LabState, host: str) -> None:
    """Join a host to the migration network of its site, to the guests' networks and to the storage network."""
    init = state.hosts[host].init_pid
    site = next(member.site for member in state.topology.hosts if member.name == host)
    script = f"ip link set m-{host} master mig-{state.topology.sites.index(site)} up\n"
    for number, network in enumerate(state.topology.networks):
        if network.kind == "vxlan" or network.bridge_on(host) is None:
            continue
        port = f"n{number}-{host}"
        # After a crash the old trunk stays until the kernel has taken the dead host's namespace apart.
        script += (
            f"ip link delete {port} 2>/dev/null || true\n"
            f"ip link add {port} type veth peer name trunk{number} netns /proc/{init}/ns/net\n"
        ) + _plug(state, network, number, port)
    if state.storage_pid:
        script += (
            f"ip link delete s-{host} 2>/dev/null || true\n"
            f"ip link add s-{host} master br-sto type veth peer name sto0 netns /proc/{init}/ns/net\n"
            f"ip link set s-{host} up\n"
        )
    _run(state, script)


def silence(state: LabState, host: str) -> None:
    """Let nothing more of a host get to the storage network; the migration network has its line for that.

    Raises
    ------
    LabError
        If the host is not plugged in.
    """
    if state.storage_pid:
        _run(state, f"ip link set s-{host} down\n")


def host_script(state: LabState, host: str) -> str:
    """Script, run inside a host that is plugged in, that makes its bridges and its end of the storage network."""
    index = state.hosts[host].index
    script = ""
    if has_switch(state, host):
        script += switch.start_script(extras.provide(extras.SWITCH), switch.HOST_RUN)
    for number, network in enumerate(state.topology.networks):
        bridge = network.bridge_on(host)
        if bridge is None:
            continue
        match network.kind:
            case "ovs":
                script += switch.bridge_script(switch.HOST_RUN, bridge)
                script += switch.port_script(switch.HOST_RUN, bridge, f"trunk{number}")
            case "vxlan":
                own_ip = config.migration_ip(index)
                script += config.tunnel_script(f"vx{number}", number, own_ip, tunnel_ends(state, network))
                script += config.bridge_script(bridge, f"vx{number}")
            case _:
                script += config.bridge_script(bridge, f"trunk{number}")
    if state.storage_pid:
        script += config.storage_script(config.storage_host_ip(index))
    return script
