"""Guests that must lie within NUMA nodes, packed into the nodes of their host."""

from __future__ import annotations

from collections.abc import Iterable

from drsim.check.violation import SLACK
from drsim.inventory import Host, Vm

STEPS = 3000
"""Tries after which guests count as not to be packed."""


def fits_nodes(host: Host, vms: Iterable[Vm]) -> bool:
    """Whether guests can lie in the nodes of a host, each in as many as it asks for, evenly.

    Guests that ask for none fill what is left, wherever that is. Every way is tried, the largest guest first, up to
    `STEPS` tries.
    """
    bound = sorted(
        (vm for vm in vms if vm.numa_nodes is not None), key=lambda vm: (-vm.memory_mib / (vm.numa_nodes or 1), vm.name)
    )
    if not bound:
        return True
    nodes = host.nodes
    memory = [host.guest_memory_mib / nodes] * nodes
    vcpus = [host.guest_vcpus / nodes] * nodes
    steps = 0

    def seat(vm: Vm, on: list[int], sign: int) -> None:
        for node in on:
            memory[node] -= sign * vm.memory_mib / len(on)
            vcpus[node] -= sign * vm.vcpus / len(on)

    def go(number: int) -> bool:
        nonlocal steps
        if number == len(bound):
            return True
        vm = bound[number]
        count = vm.numa_nodes or 1
        need = (vm.memory_mib / count, vm.vcpus / count)
        fitting = [n for n in range(nodes) if need[0] <= memory[n] + SLACK and need[1] <= vcpus[n] + SLACK]
        if len(fitting) < count:
            return False
        fitting.sort(key=lambda n: memory[n])
        tried: set[tuple[float, float]] = set()
        for first in range(len(fitting) - count + 1):
            on = fitting[first : first + count]
            alike = (memory[on[0]], vcpus[on[0]])
            if alike in tried:
                continue
            tried.add(alike)
            steps += 1
            if steps > STEPS:
                return False
            seat(vm, on, 1)
            if go(number + 1):
                return True
            seat(vm, on, -1)
        return False

    return go(0)
