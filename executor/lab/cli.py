"""``drsim lab``: several real KVM hosts on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drsim.errors import LabError
from executor.lab.state import lab_names, labs_root

app = typer.Typer(
    help="Several real KVM hosts on this machine, for trying, teaching and testing.", no_args_is_help=True
)

NameOption = Annotated[str, typer.Option("--name", help="Which lab.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _print(text: Any) -> None:
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(text)


def _load(name: str) -> Any:
    from executor.lab.lab import Lab

    return Lab.load(name)


@app.command()
def up(
    topology: Annotated[Path | None, typer.Argument(help="YAML file; without it equal hosts and guests.")] = None,
    hosts: Annotated[int, typer.Option(min=1)] = 3,
    guests: Annotated[int, typer.Option(min=0)] = 4,
    rate: Annotated[float, typer.Option(min=0, help="Migration line, Mbit/s; 0 is unlimited.")] = 1000.0,
    rtt: Annotated[float, typer.Option(min=0, help="Round-trip time between hosts, ms.")] = 0.0,
    name: NameOption = "lab",
) -> None:
    """Bring a lab up and boot its guests."""
    from executor.lab.lab import Lab
    from executor.lab.topology import LabTopology, read_topology

    wanted = (
        read_topology(topology)
        if topology
        else LabTopology.simple(name=name, hosts=hosts, guests=guests, rate_mbit_s=rate, rtt_ms=rtt)
    )
    lab = Lab.up(wanted, on_step=lambda step: _print(f"  {step}"))
    _status(lab)
    _print(f"Read it: drsim collect --hosts-file {lab.state.folder / 'hosts.yaml'} -o inventory.json")


@app.command()
def down(
    name: NameOption = "lab",
    every: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Take a lab down; nothing is left behind."""
    from executor.lab.lab import take_down

    names = lab_names() if every else (name,)
    if not every and name not in lab_names():
        raise LabError(f"There is no lab '{name}' (up: {', '.join(lab_names()) or 'none'}).")
    for each in names:
        take_down(labs_root() / each)
        _print(f"Lab '{each}' is down.")


@app.command()
def status(name: NameOption = "lab", as_json: JsonOption = False) -> None:
    """Show hosts, lines and guests."""
    lab = _load(name)
    if as_json:
        sys.stdout.write(json.dumps(lab.status(), indent=2) + "\n")
    else:
        _status(lab)


def _status(lab: Any) -> None:
    seen = lab.status()
    table = Table("host", "site", "state", "line", "guests", box=None)
    for name, host in seen["hosts"].items():
        guests = "does not answer" if host["guests"] is None else " ".join(host["guests"])
        table.add_row(name, host["site"], "up" if host["up"] else "down", _line(host), guests)
    _print(table)
    for name, link in seen["links"].items():
        _print(f" {name}: {_line(link)}")
    if seen["remark"]:
        _print(seen["remark"])


def _line(seen: dict[str, Any]) -> str:
    if seen["cut"]:
        return "cut"
    rate = f"{seen['rate_mbit_s']:g} Mbit/s" if seen["rate_mbit_s"] else "unlimited"
    return f"{rate}, RTT {seen['rtt_ms']:g} ms, loss {seen['loss']:.2%}"


@app.command()
def link(
    ends: Annotated[str, typer.Argument(metavar="HOST|SITE:SITE", help="A host's line, or that between two sites.")],
    name: NameOption = "lab",
    rate: Annotated[float | None, typer.Option(min=0, help="Mbit/s; 0 is unlimited.")] = None,
    rtt: Annotated[float | None, typer.Option(min=0, help="Round-trip time, ms.")] = None,
    jitter: Annotated[float | None, typer.Option(min=0, help="Up to so much more each way, ms.")] = None,
    loss: Annotated[float | None, typer.Option(min=0, max=1, help="Fraction of packets.")] = None,
    queue: Annotated[float | None, typer.Option(min=0.001, help="Longest wait before packets are dropped, ms.")] = None,
    fair: Annotated[bool | None, typer.Option("--fair/--fifo", help="Connections take turns, or wait in line.")] = None,
    cut: Annotated[bool | None, typer.Option("--cut/--heal", help="Swallow everything, or no longer.")] = None,
) -> None:
    """Reshape, cut or heal the migration line of a host, or the line between two sites."""
    lab = _load(name)
    a, is_wan, b = ends.partition(":")
    asked = {"rate_mbit_s": rate, "rtt_ms": rtt, "jitter_ms": jitter, "loss": loss, "queue_ms": queue, "fair": fair}
    if changes := {key: value for key, value in asked.items() if value is not None}:
        if is_wan:
            lab.wan(a, b, **changes)
        else:
            lab.line(a, **changes)
    if cut is not None and is_wan:
        lab.cut_wan(a, b, cut=cut)
    elif cut is not None:
        lab.cut(a, cut=cut)
    _status(lab)


@app.command()
def crash(host: str, name: NameOption = "lab") -> None:
    """Cut the power of a host: it, its daemon and its guests are gone at once."""
    _load(name).crash(host)
    _print(f"{host} has no power. Start it again: drsim lab restart {host}")


@app.command()
def restart(host: str, name: NameOption = "lab") -> None:
    """Give a crashed host its power back; its guests are booted with 'drsim lab guest GUEST boot'."""
    _load(name).restart(host)
    _print(f"{host} is up.")


@app.command()
def guest(
    guest: str,
    action: Annotated[str, typer.Argument(help="stat, verify, boot, or dirty.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(help="For dirty: working set MiB, rate MiB/s, and if wanted e.g. zipf:1000 or hot:8:900."),
    ] = None,
    name: NameOption = "lab",
) -> None:
    """Ask a guest what it does, let it check its memory and disk, or change what it does."""
    lab = _load(name)
    if action == "boot":
        lab.boot(guest)
        _print(f"{guest} answers.")
        return
    with lab.control(guest) as control:
        match action, values or []:
            case "stat", []:
                _print(" ".join(f"{key}={value}" for key, value in control.stat().items()))
            case "verify", []:
                verdict = control.verify()
                _print(f"{verdict.bad_pages} of {verdict.pages} pages bad, {verdict.bad_blocks} blocks bad")
                if verdict.bad_pages or verdict.bad_blocks:
                    raise typer.Exit(2)
            case "dirty", [_, _, *_] as words:
                control.order(f"dirty {' '.join(words)}")
                _print("ok")
            case _:
                raise LabError(
                    f"guest {guest} {action}: expected stat, verify, boot, or dirty WORKING_SET_MIB RATE_MIB_S [HOW]."
                )


@app.command()
def certificate(
    host: str,
    condition: Annotated[str, typer.Argument(help="good, expired, missing or foreign.")],
    name: NameOption = "lab",
) -> None:
    """Replace the certificate of a host by a good one or a bad one."""
    from executor.lab.pki import CONDITIONS

    lab = _load(name)
    found = next((each for each in CONDITIONS if each == condition), None)
    if found is None:
        raise LabError(f"'{condition}' is no condition of a certificate. Use {', '.join(CONDITIONS)}.")
    lab.certificate(host, found)
    _print(f"The certificate of {host} is {condition}.")


@app.command()
def capture(
    host: str,
    seconds: Annotated[float, typer.Argument(min=0.1, help="How long to listen.")] = 10.0,
    network: Annotated[str | None, typer.Option(help="Network; without it the host's first.")] = None,
    name: NameOption = "lab",
) -> None:
    """Print announcements of guests (gratuitous ARP, RARP) as they leave or reach a host's bridge."""
    with _load(name).capture(host, network) as wire:
        for seen in wire.seen(seconds):
            _print(f"{seen.kind} {seen.mac}{'' if seen.vlan is None else f' VLAN {seen.vlan}'}")


@app.command("exec")
def execute(host: str, command: list[str], name: NameOption = "lab") -> None:
    """Run a command inside a host: drsim lab exec h1 -- ip address."""
    import shlex

    sys.stdout.write(_load(name).run(host, shlex.join(command)))


@app.command()
def doctor(
    topology: Annotated[Path | None, typer.Argument(help="Look at what this topology needs beside.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Install what is missing (root, apt).")] = False,
) -> None:
    """Say what this machine lacks for the lab, and how to get it."""
    from executor.lab import doctor as examiner
    from executor.lab import packages
    from executor.lab.topology import read_topology

    wanted = read_topology(topology) if topology else None
    if install:
        packages.install()
    findings = (*examiner.examine(), *(examiner.examine_extras(wanted, fetch=install) if wanted else ()))
    table = Table("", "what", "says", "what to do", box=None)
    for finding in findings:
        remedy = "" if finding.ok else escape(finding.remedy)
        table.add_row("ok" if finding.ok else "--", finding.name, escape(finding.says), remedy)
    _print(table)


@app.command("hosts-file")
def hosts_file(name: NameOption = "lab") -> None:
    """Print the hosts file of a lab, for 'drsim collect --hosts-file'."""
    sys.stdout.write(_load(name).hosts_file())
