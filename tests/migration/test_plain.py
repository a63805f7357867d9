"""A plain pre-copy by numbers alone, compiled and as it is, against the automaton that plays every mode."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.errors import PlanError
from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, G5K, LAB_TCG, SIMGRID, XEN, XEN_2005, Migration, Options, predict, prediction
from drsim.migration import compiled as gate
from drsim.migration.numbers import numbers
from drsim.migration.plain import play
from drsim.plan import Prediction
from drsim.topology import Path
from tests.migration.guests import disk, guest, line

ROOT = Folder(__file__).parents[2]

classes = st.lists(
    st.builds(
        PageClass, size_mib=st.floats(0.5, 900.0), dirty_rate_mib_s=st.floats(0.0, 150.0), in_order=st.booleans()
    ),
    max_size=3,
)
vms = st.builds(
    lambda memory, share, dirty, state, arrived: replace(
        guest(memory, tuple(dirty), None if share is None else share * memory), state=state, arrived=arrived
    ),
    st.integers(64, 32_768),
    st.none() | st.floats(0.0, 1.0),
    classes,
    st.sampled_from(["running", "running", "running", "paused"]),
    st.sampled_from([None, "boot", "postcopy"]),
)
paths = st.builds(line, st.floats(50.0, 25_000.0), st.just(0.0) | st.floats(0.0, 150.0), st.sampled_from([0.0, 1e-4]))
terms = st.fixed_dictionaries(
    {
        "max_downtime_ms": st.floats(1.0, 2000.0),
        "bandwidth_mbit_s": st.none() | st.floats(20.0, 12_000.0),
        "parameters": st.sampled_from([DEFAULT, LAB_TCG, G5K, SIMGRID, XEN, XEN_2005]),
        "options": st.sampled_from(
            [
                Options(),
                Options(tls=True),
                Options(parallel_connections=4),
                Options(parallel_connections=2, compression="zstd"),
                Options(tunnelled=True),
            ]
        ),
    }
)


def driven(vm: Vm, path: Path, rate_mbit_s: float | None, of: dict[str, Any]) -> Prediction:
    """Play it by the automaton."""
    line_mbit_s = path.bandwidth_mbit_s if rate_mbit_s is None else min(rate_mbit_s, path.bandwidth_mbit_s)
    run = Migration(vm, path, copy_disks=(), line_mbit_s=line_mbit_s, **of)
    while not run.done:
        rate = run.limit_mib_s
        run.advance(run.wait_s(rate), rate)
        run.happen()
    return prediction(run, start_s=0.0)


def same(one: Prediction, other: Prediction) -> None:
    """To 1e-12; on Python 3.11 to the last bit (later ones add up lists more exactly than arrays)."""
    figures, expected = ([figure or 0.0 for figure in astuple(each)] for each in (one, other))
    assert figures == pytest.approx(expected, rel=1e-12)


@settings(max_examples=400, deadline=None)
@given(vms, paths, st.none() | st.floats(50.0, 25_000.0), terms)
def test_compiled_predictions_are_those_of_the_automaton(
    vm: Vm, path: Path, rate_mbit_s: float | None, of: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "PAYS_FROM", 0)
        fast = predict(vm, path, rate_mbit_s=rate_mbit_s, **of)
    same(fast, driven(vm, path, rate_mbit_s, of))


@settings(max_examples=60, deadline=None)
@given(vms, paths, terms)
def test_the_loop_runs_as_it_is_too(vm: Vm, path: Path, of: dict[str, Any]) -> None:
    own = numbers(vm, path, copy_disks=(), line_mbit_s=path.bandwidth_mbit_s, **of)
    assert own is not None
    fixed, of_class = (np.array(part) for part in own)
    expected = driven(vm, path, None, of)
    with np.errstate(divide="ignore", invalid="ignore"):
        elapsed_s, downtime_s, qemu_s, sent_mib, passes, converges = play(fixed, of_class)
    assert (elapsed_s, downtime_s * 1e3, qemu_s * 1e3, sent_mib) == pytest.approx(
        (expected.total_time_s, expected.downtime_ms, expected.qemu_downtime_ms, expected.sent_mib), rel=1e-12
    )
    assert (passes + 1, converges > 0.0) == (expected.rounds, expected.converges)


@pytest.mark.parametrize(
    "options",
    [
        Options(mode="postcopy"),
        Options(mode="hybrid"),
        Options(auto_converge=True),
        Options(dirty_limit_mib_s=10.0),
        Options(stun=True),
        Options(compression="xbzrle"),
    ],
    ids=lambda options: str(options)[8:40],
)
def test_what_chooses_under_way_is_left_to_the_automaton(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    wild, of = (
        guest(dirty=(PageClass(size_mib=2000, dirty_rate_mib_s=400),)),
        {"options": options, "parameters": DEFAULT},
    )
    limits = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None}
    monkeypatch.setattr(gate, "PAYS_FROM", 0)
    same(predict(wild, line(), **limits, **of), driven(wild, line(), None, {**limits, **of}))
    assert predict(wild, line(), **limits, **of) != predict(wild, line(), **limits)


def test_disks_are_left_to_the_automaton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PAYS_FROM", 0)
    vm = guest(disks=(disk(500.0, 1.0),))
    limits: dict[str, Any] = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None}
    assert predict(vm, line(), copy_disks=["vda"], **limits).sent_mib > predict(vm, line(), **limits).sent_mib + 500.0
    with pytest.raises(PlanError, match="vdz"):
        predict(vm, line(), copy_disks=["vdz"], **limits)


def test_few_predictions_load_no_compiler() -> None:
    code = (
        "import sys\n"
        "from tests.migration.guests import guest, line\n"
        "from drsim.migration import compiled, predict\n"
        "one = lambda: predict(guest(), line(), max_downtime_ms=300.0, bandwidth_mbit_s=None)\n"
        "before = [one() for _ in range(compiled.PAYS_FROM)]\n"
        "assert 'numba' not in sys.modules\n"
        "assert one() == before[0] and 'numba' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
