"""How each move is to travel: what the policy says, and the ladder for guests that pre-copy does not bring over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from drsim.inventory import Vm
from drsim.migration import Options, Parameters, aim_ms, calm_cap_mbit_s, choose_mode
from drsim.plan import Move, Prediction
from drsim.policy import Manner, Policy
from drsim.topology import Path
from drsim.units import MIB_S_PER_MBIT_S

SYNCHRONOUS_RTT_MS = 5.0
"""Round-trip time from which writes to copied disks end on both ends, ms. A mirror in the background comes to rest only
when nothing is in flight and nothing is dirty (QEMU, block/mirror.c): never, if the guest writes once a round trip."""


def manner_of(vm: Vm, policy: Policy) -> Manner:
    """Return the first manner of the policy that selects the guest; a plain one if none does."""
    names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    return next((manner for manner in policy.manners if not names.isdisjoint(manner.vms)), Manner(vms=("*",)))


def equip(move: Move, vm: Vm, path: Path, policy: Policy, parameters: Parameters, line_mbit_s: float) -> Move:
    """Return the move with the settings that the policy has for its guest.

    Parameters
    ----------
    move, vm, path : Move, Vm, Path
        The move, its guest and what lies between its hosts.
    policy : Policy
        Its manners and its cap.
    parameters : Parameters
        Constants of the migration model.
    line_mbit_s : float
        What it gets of its path beside the other moves, Mbit/s.

    Notes
    -----
    The hypervisor counts memory only against its downtime limit; what the switchover takes besides is taken off, so
    that the standstill as a whole keeps what the guest allows. Where it would not, over a long line, the bandwidth is
    capped below what the line carries.
    """
    transfer = manner_of(vm, policy).transfer
    if move.copy_disks and path.rtt_ms >= SYNCHRONOUS_RTT_MS:
        transfer = replace(transfer, synchronous_writes=True)
    options = Options.of(transfer)
    cap_mbit_s = calm_cap_mbit_s(
        vm,
        path,
        max_downtime_ms=move.max_downtime_ms,
        line_mbit_s=line_mbit_s,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        parameters=parameters,
        options=options,
    )
    if cap_mbit_s is not None and cap_mbit_s < (move.bandwidth_mbit_s or math.inf):
        move = replace(move, bandwidth_mbit_s=round(cap_mbit_s, 1))
    first_ms = aim_ms(
        path,
        max_downtime_ms=move.max_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        line_mbit_s=line_mbit_s,
        parameters=parameters,
        options=options,
    )
    return replace(move, transfer=transfer, first_downtime_ms=round(first_ms, 1))


def equip_all(
    moves: tuple[Move, ...],
    policy: Policy,
    *,
    path: Callable[[Move], Path],
    guest: Callable[[Move], Vm],
    constants: Callable[[Move], Parameters],
    capacity_mbit_s: Mapping[str, float],
) -> tuple[Move, ...]:
    """Return the moves with their settings; see `equip`.

    Moves of a wave share their lines evenly; what those that are capped leave of theirs the others get, and with it one
    of them may come to rest under a cap after all.

    Parameters
    ----------
    moves : tuple of Move
        Of a plan.
    policy : Policy
        Its manners and its cap.
    path, guest, constants : callable
        What lies between the hosts of a move, its guest, constants of the migration model for it.
    capacity_mbit_s : mapping of str to float
        Rate of each line (`Topology.capacity_mbit_s`).
    """
    edges = {move.id: path(move).edges for move in moves}
    shares_mbit_s: dict[str, float] = {}

    def settle(settled: tuple[Move, ...]) -> tuple[Move, ...]:
        taken, waiting = dict[tuple[int, str], float](), Counter[tuple[int, str]]()
        calm = {now.id for now, was in zip(settled, moves, strict=True) if now.bandwidth_mbit_s != was.bandwidth_mbit_s}
        for move in settled:
            for edge in edges[move.id]:
                place = (move.wave, edge)
                if move.id in calm:
                    taken[place] = taken.get(place, 0.0) + (move.bandwidth_mbit_s or 0.0)
                else:
                    waiting[place] += 1

        def equipped(move: Move) -> Move:
            if move.id in calm:
                return move
            places = ((move.wave, edge) for edge in edges[move.id])
            share_mbit_s = min((capacity_mbit_s[at[1]] - taken.get(at, 0.0)) / waiting[at] for at in places)
            if shares_mbit_s.get(move.id) == share_mbit_s:
                return move
            shares_mbit_s[move.id] = share_mbit_s
            return equip(move, guest(move), path(move), policy, constants(move), share_mbit_s)

        return tuple(map(equipped, settled))

    return settle(settle(moves))


def climb(
    move: Move, vm: Vm, path: Path, policy: Policy, parameters: Parameters, said: Prediction
) -> tuple[Move, str] | None:
    """Return the move with the next gentlest settings that bring the guest over, and why; None if nothing allowed does.

    Parameters
    ----------
    move, vm, path : Move, Vm, Path
        The move, its guest and what lies between its hosts.
    policy : Policy
        Its manners say which rungs are allowed.
    parameters : Parameters
        Constants of the migration model.
    said : Prediction
        What was predicted for it among the other moves: it does not converge. The rate that it had is what counts.
    """
    manner = manner_of(vm, policy)
    had_mbit_s = said.sent_mib / max(said.total_time_s, 1e-6) / MIB_S_PER_MBIT_S
    choice = choose_mode(
        replace(vm, max_downtime_ms=move.max_downtime_ms),
        path,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        parameters=parameters,
        rate_mbit_s=min(path.bandwidth_mbit_s, max(had_mbit_s, 1.0)),
        base=Options.of(move.transfer),
        may_throttle="auto_converge" in manner.ladder,
        may_postcopy="hybrid" in manner.ladder,
    )
    if choice.options is None:
        return None
    settled = replace(move.transfer, mode=choice.options.mode, auto_converge=choice.options.auto_converge)
    return None if settled == move.transfer else (replace(move, transfer=settled), choice.why)
