"""Any plan, any faults, any number of deaths of the controller: the invariants hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsim.inventory import Datastore, Inventory, Network, Site
from drsim.plan import Move, Plan
from executor.hypervisor.faults import (
    Break,
    ControllerKilled,
    Elsewhere,
    Fault,
    HostBecomes,
    Kill,
    MemoryTaken,
    Refuse,
    Unclear,
)
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import RunState
from executor.run import apply, resume
from executor.store import Store
from tests.executor.estates import HOST_MIB, assert_invariants, guest, host, plan, started_moves
from tests.faults.mortal import another_process, mortal

HOSTS = ("h1", "h2", "h3")
GUESTS = "abcdef"


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """An estate and waves of moves that overfill no host, a moving guest counted on both of its hosts."""
    sizes = {name: draw(st.sampled_from([512, 1024, 2048])) for name in GUESTS[: draw(st.integers(2, 6))]}
    place: dict[str, str] = {}
    for name, size in sizes.items():
        fitting = [h for h in HOSTS if sum(sizes[g] for g in place if place[g] == h) + size <= HOST_MIB]
        place[name] = draw(st.sampled_from(fitting))
    inventory = Inventory(
        sites=(Site(name="paris"),),
        hosts=tuple(host(name) for name in HOSTS),
        datastores=(Datastore(name="ceph", kind="ceph", hosts=HOSTS),),
        networks=(Network(name="br0", hosts=HOSTS),),
        vms=tuple(guest(name, place[name], size) for name, size in sizes.items()),
    )
    wanted: list[Move] = []
    for wave in range(1, draw(st.integers(1, 3)) + 1):
        held = {h: sum(sizes[g] for g in place if place[g] == h) for h in HOSTS}
        for name in draw(st.lists(st.sampled_from(sorted(sizes)), min_size=1, max_size=3, unique=True)):
            goals = [h for h in HOSTS if h != place[name] and held[h] + sizes[name] <= HOST_MIB]
            if goals:
                goal = draw(st.sampled_from(goals))
                held[goal] += sizes[name]
                number = len(wanted) + 1
                wanted.append(
                    Move(id=f"m{number:03d}", vm=name, source=place[name], target=goal, wave=wave, reason="any")
                )
        place.update({move.vm: move.target for move in wanted if move.wave == wave})
    numbers = sorted({move.wave for move in wanted})
    renumbered = [
        Move(id=m.id, vm=m.vm, source=m.source, target=m.target, wave=numbers.index(m.wave) + 1, reason=m.reason)
        for m in wanted
    ]
    return plan(inventory, renumbered)


guests, after = st.sampled_from(GUESTS), st.integers(1, 3)
faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Refuse, vm=guests),
    st.builds(Break, vm=guests, fraction=st.floats(0.01, 0.99)),
    st.builds(Unclear, vm=guests),
    st.builds(Kill, vm=guests, when=st.sampled_from(["before", "under_way", "after"])),
    st.builds(HostBecomes, host=st.sampled_from(HOSTS), state=st.just("maintenance"), after_moves=after),
    st.builds(Elsewhere, vm=guests, host=st.none(), after_moves=after),
    st.builds(MemoryTaken, host=st.sampled_from(HOSTS), memory_mib=st.just(float(HOST_MIB)), after_moves=after),
)
deaths = st.lists(st.tuples(st.integers(1, 14), st.sampled_from(["before", "after"])), max_size=3)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(the_plan=plans(), ordered=st.lists(faults, max_size=3), fuses=deaths)
def test_the_invariants_hold_on_any_course(the_plan: Plan, ordered: list[Fault], fuses: list[tuple[int, str]]) -> None:
    hypervisor = SimulatedHypervisor(the_plan.inventory, faults=ordered, settle_s=0.001)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'runs.sqlite'}"
        result = None
        for fuse, when in [*fuses, *[(0, "before")] * (len(ordered) + 1)]:
            store = mortal(url, fuse, when)  # type: ignore[arg-type]
            try:
                with another_process():
                    if store.runs():
                        result = resume("r0001", hypervisor, store, actor="ann", brake=99)
                    else:
                        result = apply(the_plan, hypervisor, store, actor="ann", brake=99)
            except ControllerKilled:
                continue
            finally:
                store.close()
        last = Store(url)
        assert result is not None
        assert_invariants(the_plan, hypervisor, last, result)
        assert result.state not in (RunState.RUNNING, RunState.STOPPED)
        begun = len(started_moves(last))
        if last.runs():
            assert resume("r0001", hypervisor, last, actor="ann").compare() == result.compare()
        assert len(started_moves(last)) == begun
        last.close()
