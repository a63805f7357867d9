from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.policy import Policy
from drsim.report import draw_accuracy, draw_gantt, draw_heatmap, draw_links, draw_migrations, draw_utilisation
from drsim.report.gantt import ROWS, bar_titles
from drsim.simulate.operate import Watch, operate
from drsim.synthetic import cluster
from drsim.whatif import balancer
from drsim.workload import Demand
from tests.report.plans import estate, outcome_of, plan_of


@pytest.fixture(scope="module", params=[(4, 6), (100, 400)], ids=["6 moves", "400 moves"])
def plan(request: pytest.FixtureRequest) -> Plan:
    hosts, moves = request.param
    return plan_of(estate(hosts), moves)


def test_every_move_has_a_bar_predicted_and_actual(plan: Plan) -> None:
    figure = draw_gantt(plan, outcome_of(plan))
    ids = {patch.get_gid() for patch in figure.axes[0].patches} - {None}
    assert ids == set(bar_titles(plan, outcome_of(plan)))
    assert len(ids) == 2 * len(plan.moves)


def test_bars_of_the_timeline_never_overlap(plan: Plan) -> None:
    bars = [p for p in draw_gantt(plan).axes[0].patches if p.get_gid()]
    rows: dict[float, list[tuple[float, float]]] = {}
    for bar in bars:
        assert isinstance(bar, Rectangle)
        rows.setdefault(round(bar.get_y(), 3), []).append((bar.get_x(), bar.get_x() + bar.get_width()))
    for spans in rows.values():
        spans.sort()
        assert all(first[1] <= second[0] + 1e-6 for first, second in itertools.pairwise(spans))


def test_many_moves_share_the_rows_of_their_hosts(plan: Plan) -> None:
    labels = [label.get_text() for label in draw_gantt(plan).axes[0].get_yticklabels()]
    sources = {move.source for move in plan.moves}
    assert len(labels) == (len(plan.moves) if len(plan.moves) <= ROWS else len(sources))


def test_utilisation_shows_both_resources_of_every_host(plan: Plan) -> None:
    figure = draw_utilisation(plan.inventory, plan.target, limits=plan.policy.limits)
    for ax in figure.axes:
        assert len(ax.patches) == 2 * len(plan.inventory.hosts)


def test_very_many_hosts_become_curves() -> None:
    inventory = estate(250)
    figure = draw_utilisation(inventory, {vm.name: vm.host for vm in inventory.vms})
    assert not figure.axes[0].patches
    assert len(figure.axes[0].lines) == 4


def test_accuracy_leaves_out_what_did_not_arrive(plan: Plan) -> None:
    figure = draw_accuracy(plan, outcome_of(plan))
    assert [len(ax.collections[0].get_offsets()) for ax in figure.axes] == [len(plan.moves) - 1] * 3


def test_the_heat_map_shows_every_host_and_no_peak_is_lost() -> None:
    estate, days = cluster(6, 80, 1), 5.0
    demand = Demand.daily(estate, days=days, step_s=60.0, seed=1)
    demand.cpu_cores[4321] = [vm.vcpus for vm in estate.vms]
    lived = operate(estate, demand)
    ax = draw_heatmap(lived).axes[0]
    shown = ax.images[0].get_array()
    assert shown is not None
    assert shown.shape == (6, 1000)
    peak = ((lived.used_cores + lived.ready_cores) / lived.cores).max(axis=0)
    assert sorted(shown.max(axis=1)) == pytest.approx(sorted(peak))
    assert {label.get_text() for label in ax.get_yticklabels()} == {host.name for host in estate.hosts}


def test_links_and_migrations_of_an_operation_are_drawn() -> None:
    estate = cluster(6, 90, 1)
    lived = operate(estate, Demand.daily(estate, days=1.0, seed=3), balancer(Policy()), watch=Watch())
    assert lived.migrations
    ax = draw_links(lived.link_use).axes[0]
    shown = ax.images[0].get_array()
    assert shown is not None
    peak = lived.link_use.to_frame().eval("share = used_mbit_s / capacity_mbit_s").groupby("edge").share.max()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert dict(zip(labels, shown.max(axis=1), strict=True)) == pytest.approx({edge: peak[edge] for edge in labels})
    assert set(peak.index[peak > 0.0]) == set(labels)
    bars = draw_migrations(lived).axes[0]
    assert len(bars.patches) == len(lived.migrations)
    assert {label.get_text() for label in bars.get_yticklabels()} == {one.source for one in lived.migrations}
    idle = operate(estate, Demand.daily(estate, days=0.1, seed=3))
    for figure in (draw_links(idle.link_use), draw_migrations(idle)):
        figure.canvas.draw()
        assert not figure.axes[0].images


def test_nothing_to_draw_is_drawn_as_nothing() -> None:
    plan = replace(plan_of(estate(4), 6), moves=())
    empty = Inventory()
    for figure in (draw_gantt(plan), draw_accuracy(plan, ()), draw_utilisation(empty, {})):
        figure.canvas.draw()
        assert figure.axes


def test_axes_of_the_caller_are_used() -> None:
    plan = plan_of(estate(4), 6)
    own = Figure()
    upper, lower, third = own.subplots(3, 1)
    assert draw_utilisation(plan.inventory, plan.target, axes=(upper, lower)) is own
    assert draw_gantt(plan, ax=third) is own
    assert draw_accuracy(plan, outcome_of(plan), axes=own.subplots(1, 3)) is own


def test_names_are_never_read_as_formulas() -> None:
    inventory = estate(4)
    odd = replace(inventory, vms=tuple(replace(vm, name=f"$\\frac{{{vm.name}$") for vm in inventory.vms))
    plan = plan_of(odd, 6)
    for figure in (draw_gantt(plan, outcome_of(plan)), draw_accuracy(plan, outcome_of(plan))):
        figure.canvas.draw()
    assert plan.moves[0].vm in draw_gantt(plan).axes[0].get_yticklabels()[0].get_text()


def test_drawing_changes_no_setting_and_wakes_no_pyplot() -> None:
    before = dict(mpl.rcParams)
    draw_gantt(plan_of(estate(4), 6))
    assert dict(mpl.rcParams) == before
    code = "import sys, drsim.report; print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
