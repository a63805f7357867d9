"""A plain cluster file used to compare balancers: ``neutral:FILE``.

One JSON object: ``hosts`` (id, cores, ram_gib, nic_gbps, rack), ``vms`` (id, vcpus, ram_gib, cpu_used in cores,
ram_used_gib, dirty_mib_s, host as index), ``anti_affinity`` (lists of guest indices), ``meta.max_vcpu_per_core``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drsim.errors import InventoryError
from drsim.formats.text import read_text, refuse, write_text
from drsim.formats.validate import parse_json
from drsim.inventory import Host, HostNic, Inventory, PageClass, Site, Vm
from drsim.placement import Placement
from drsim.policy import Apart, Policy

PREFIX = "neutral:"
GIB = 1024


def read_neutral(path: str | Path) -> tuple[Inventory, Policy]:
    """Read a cluster and its anti-affinity rules.

    Raises
    ------
    InventoryError
        If it is no such file; the record and the field are named.
    """
    place = str(path)
    data = parse_json(read_text(path, InventoryError, "a neutral cluster file"), place, InventoryError)
    where, key = "", ""
    try:
        ratio = float(data["meta"]["max_vcpu_per_core"])
        hosts = []
        for number, host in enumerate(data["hosts"]):
            where = f"hosts no. {number + 1}"
            hosts.append(_host(host, ratio))
        names = [host.name for host in hosts]
        vms = []
        for number, vm in enumerate(data["vms"]):
            where = f"vms no. {number + 1}"
            if vm["host"] < 0:
                raise IndexError
            vms.append(_vm(vm, names[vm["host"]]))
        where = "anti_affinity"
        rules = tuple(
            Apart(name=f"apart {number}", vms=tuple(vms[index].name for index in group))
            for number, group in enumerate(data["anti_affinity"], 1)
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        key = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else "a value does not fit"
        remedy = "Name a file of the neutral format, or correct the record."
        raise refuse(InventoryError, f"{place}: {where or 'file'}", f"{key}.", remedy) from error
    inventory = Inventory(name=Path(path).stem, sites=(Site(name="site"),), hosts=tuple(hosts), vms=tuple(vms))
    return inventory, Policy(rules=rules)


def _host(host: dict[str, Any], ratio: float) -> Host:
    return Host(
        name=host["id"],
        site="site",
        cores=host["cores"],
        memory_mib=round(host["ram_gib"] * GIB),
        cpu_overcommit=ratio,
        rack=str(host["rack"]),
        nics=(HostNic(name="nic", rate_mbit_s=host["nic_gbps"] * 1000.0),),
    )


def _vm(vm: dict[str, Any], host: str) -> Vm:
    used = vm["ram_used_gib"] * GIB
    return Vm(
        name=vm["id"],
        host=host,
        vcpus=vm["vcpus"],
        memory_mib=round(vm["ram_gib"] * GIB),
        cpu_demand_cores=float(vm["cpu_used"]),
        memory_used_mib=used,
        dirty=(PageClass(size_mib=used, dirty_rate_mib_s=float(vm["dirty_mib_s"])),),
    )


def write_placement(placement: Placement, inventory: Inventory, path: str | Path) -> None:
    """Write a placement as a JSON list: one host index per guest, both in the inventory's order."""
    index = {host.name: number for number, host in enumerate(inventory.hosts)}
    write_text(json.dumps([index[placement[vm.name]] for vm in inventory.vms]) + "\n", path)
