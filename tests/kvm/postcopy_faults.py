"""Faults in the middle of post-copy, when each host holds a part of the guest: nothing may be started anywhere."""

from __future__ import annotations

import time

from drsim.errors import LabError
from drsim.transfer import Transfer
from executor.hypervisor.base import Outcome
from tests.kvm.scene import HANDS_OFF, NOTICED_S, Expected, Scenario, Scene

POSTCOPY: dict[str, object] = {"transfer": Transfer(mode="postcopy")}
IN_POSTCOPY = 0.6
"""Share of what is left at which a post-copy is under way."""


def postcopy_cut(scene: Scene) -> Expected:
    """Cut while the guest runs on the target without all of its memory: each end holds a part of it."""
    outcome = scene.at(IN_POSTCOPY, lambda: scene.lab.cut(scene.move.target))
    scene.lab.cut(scene.move.target, cut=False)
    return Expected(outcome=outcome, status="unknown", runs_on=scene.move.target, says=HANDS_OFF)


def postcopy_recovered(scene: Scene) -> Expected:
    """The same, and then what is missing is sent over a new connection."""
    torn = postcopy_cut(scene).outcome
    if torn.status != "unknown":
        raise LabError(f"the post-copy was not cut: {torn}")
    outcome = scene.door.recover(scene.move, scene.vm, lambda progress: None)
    return Expected(outcome=outcome, status="moved", runs_on=scene.move.target)


def postcopy_qemu_killed(which: str) -> Scenario:
    """Kill one of the two halves of a guest: the memory that it held is lost, and nothing may be started anywhere."""

    def scenario(scene: Scene) -> Expected:
        host = scene.move.source if which == "source" else scene.move.target
        outcome = scene.at(IN_POSTCOPY, lambda: scene.kill_qemu(host))
        if which == "target":
            return old_copy(scene, outcome)
        half = scene.move.target  # it runs until it needs what is lost
        return Expected(outcome=outcome, status="unknown", runs_on=half, says="Save from it", or_nowhere=True)

    return scenario


def postcopy_power_failure(which: str) -> Scenario:
    def scenario(scene: Scene) -> Expected:
        host = scene.move.source if which == "source" else scene.move.target
        outcome = scene.at(IN_POSTCOPY, lambda: scene.lab.crash(host))
        if outcome.status != "unknown" or HANDS_OFF not in outcome.reason:
            raise LabError(f"with a host down: {outcome}")
        scene.lab.restart(host)
        time.sleep(NOTICED_S)
        # Now both can be asked, and it is still not known: the guest's memory is gone in part.
        outcome = scene.door.watch(scene.move, scene.vm, lambda progress: None)
        if which == "target":
            return old_copy(scene, outcome)
        return Expected(
            outcome=outcome, status="unknown", runs_on=scene.move.target, says="Save from it", or_nowhere=True
        )

    return scenario


def old_copy(scene: Scene, outcome: Outcome) -> Expected:
    """The half on the target is gone. The old one stays paused if QEMU had pages to send, else it is let run again."""
    source = scene.move.source
    if scene.places().get(source) == "running":
        return Expected(outcome=outcome, status="unknown", runs_on=source, says="let the old copy run again")
    return Expected(outcome=outcome, status="unknown", runs_on=None, says="Never resume it")


def postcopy_target_killed_late(scene: Scene) -> Expected:
    """Kill QEMU of the target with the last pages of the source under way on a dead line."""
    target = scene.move.target

    def act() -> None:
        scene.lab.cut(target)
        time.sleep(1.0)
        scene.kill_qemu(target)
        scene.lab.cut(target, cut=False)

    return old_copy(scene, scene.at(0.85, act))
