"""A migration under way on real hypervisors, what can be done to it, and what must be so afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from drsim.errors import LabError
from drsim.inventory import Vm
from drsim.plan import Move
from executor.hypervisor.base import Outcome, Progress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab

HANDS_OFF = "keeps its hands off"
NOTICED_S = 30.0
"""After which a QEMU has sent something to a host that has come back and was told that nobody there knows of it."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A migration under way, and everything that can be done to it."""

    lab: Lab
    door: LibvirtKvm
    vm: Vm
    move: Move

    def at(self, share: float, act: Callable[[], None], *, phase: str = "memory") -> Outcome:
        """Migrate, and act once when that share of what is known to be left has been sent."""
        done = threading.Event()

        def look(progress: Progress) -> None:
            whole = progress.sent_mib + progress.remaining_mib
            if not done.is_set() and whole and progress.sent_mib >= share * whole and progress.rounds:
                done.set()
                threading.Thread(target=act, daemon=True).start()

        outcome = self.door.migrate(self.move, self.vm, look)
        if not done.is_set():
            raise LabError(f"the migration was over before {share:.0%} of it: {outcome.status}, {outcome.reason}")
        return outcome

    def kill_qemu(self, host: str) -> None:
        """SIGKILL the guest's QEMU on a host."""
        self.lab.run(host, f"kill -9 $(cat /run/libvirt/qemu/{self.vm.name}.pid)")

    def places(self) -> dict[str, str]:
        """Where the guest is, by libvirt's own word: host to state."""
        return {sighting.host: sighting.state for sighting in self.door.locate(self.vm).sightings}


Scenario = Callable[[Scene], "Expected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What came of it, and what must be so: `runs_on` is where the guest runs (None: nowhere)."""

    outcome: Outcome
    status: str
    runs_on: str | None
    says: str = ""
    or_nowhere: bool = False
