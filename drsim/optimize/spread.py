"""Spread risk: no host, rack or site holds more of a service than an even spread would give it."""

from __future__ import annotations

import math

from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.policy import Apart, Policy, Rule
from drsim.rules import Area, area_of

LEVELS: tuple[Area, ...] = ("host", "rack", "site")


def spread_rules(inventory: Inventory, policy: Policy) -> tuple[Rule, ...]:
    """Return the rules that an even spread of every tag's guests keeps: at most so many a host, rack or site.

    Guests that a rule keeps together are spread no further than that allows, and count as broken here; what must hold
    goes before what should.
    """
    tags = sorted({tag for vm in inventory.vms for tag in vm.tags})
    taken = {rule.name for rule in policy.rules}
    rules = []
    for tag in tags:
        word = f"tag:{tag}"
        count = sum(inventory.vms[number].state != "stopped" for number in inventory.vm_numbers[word])
        for per in LEVELS:
            areas = {area_of(host, per) for host in inventory.hosts if host.takes_guests}
            most = math.ceil(count / max(len(areas), 1))
            if count > 1 and len(areas) > 1 and (per == "host" or len(areas) < len(inventory.hosts)):
                name = f"spread {word} over {per}s"
                rules.append(
                    Apart(
                        name=name if name not in taken else f"{name} evenly",
                        vms=(word,),
                        per=per,
                        most=most,
                        strength="should",
                    )
                )
    return tuple(rules)


def uneven(inventory: Inventory, policy: Policy, placement: Placement) -> float:
    """Return how many guests are beyond an even spread, over all tags, hosts, racks and sites."""
    return float(sum(len(rule.breakers(inventory, placement)) for rule in spread_rules(inventory, policy)))
