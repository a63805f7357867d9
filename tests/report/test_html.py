from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import pytest

from drsim.check import Violation
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.policy import Apart, RunOn
from drsim.report import Actual, render
from tests.report.plans import estate, of_two_goals, outcome_of, plan_of

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\x1b[31mred",
    "a\u202eb",
    "$x$",
    "]]>",
    "&amp;",
    "{{ 7*7 }}",
)

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.refs.append(value or "")
            self.refs += re.findall(r"url\(([^)]*)\)", value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(estate(4), 6)


def check_page(text: str) -> Page:
    """Assert what holds of every page: it is whole, loads nothing, runs nothing."""
    page = Page(text)
    assert "script" not in page.tags
    assert not {"link", "iframe", "object", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert len(page.ids) == len(set(page.ids))
    assert {ref.removeprefix("#") for ref in page.refs} <= set(page.ids)
    assert all(ref.startswith("#") for ref in page.refs)
    described = " ".join(value for name, value in page.attributes if name == "aria-labelledby").split()
    assert set(described) <= set(page.ids)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "@import" not in text
    return page


def test_every_section_is_there(plan: Plan) -> None:
    page = check_page(render(plan, actual=outcome_of(plan), generated_at="2026-01-02"))
    for heading in (
        "Verdict",
        "Utilisation before and after",
        "Moves",
        "Timeline",
        "Predicted and actual",
        "Violations before and after",
        "Rules and limits",
        "How it was made",
    ):
        assert heading in page.text
    for part in (plan.hash, plan.inventory.fingerprint, "2026-01-02", "5 of 6", "1 failed", "the target refused it"):
        assert part in page.text
    assert page.tags.count("svg") == 3
    for move in plan.moves:
        assert f"{move.vm}: {move.source} → {move.target}, predicted" in page.text


def test_without_outcome_there_is_no_comparison(plan: Plan) -> None:
    page = check_page(render(plan))
    assert "Predicted and actual" not in page.text
    assert page.tags.count("svg") == 2


def test_violations_are_found_unless_given(plan: Plan) -> None:
    given = Violation(kind="memory", subject="h001", text="h001 is overfull.", remedy="Empty it.", when="always")
    page = check_page(render(plan, violations_before=[given], violations_after=()))
    assert "h001 is overfull. Empty it." in page.text
    assert "After: nothing is violated." in page.text
    # The first hosts of the estate hold more memory than they have.
    found = check_page(render(plan))
    assert "Before: nothing is violated." not in found.text


def test_rules_and_limits_are_told(plan: Plan) -> None:
    rules = (
        Apart(name="web apart", vms=("vm-0001", "tag:web")),
        RunOn(name="licence", vms=("vm-0002",), hosts=("rack:r1",), strength="should", price=2.5),
    )
    page = check_page(render(replace(plan, policy=replace(plan.policy, rules=rules))))
    for part in (
        "web apart",
        "vm-0001, tag:web",
        "run on",
        "rack:r1",
        "should, price 2.5",
        "max_downtime_ms",
        "300 ms",
    ):
        assert part in page.text


def test_four_hundred_moves_are_folded_away_by_wave() -> None:
    plan = plan_of(estate(100), 400)
    text = render(plan, actual=outcome_of(plan))
    page = check_page(text)
    assert page.tags.count("details") > len(plan.waves)
    assert "Wave 25: 16 moves" in page.text
    assert len(text) < 2_000_000


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_and_never_obeyed(name: str) -> None:
    inventory = estate(4)
    fresh = {vm.name: f"{name}{i}" for i, vm in enumerate(inventory.vms)}
    hosts = {host.name: f"{name}h{i}" for i, host in enumerate(inventory.hosts)}
    odd = Inventory(
        name=name,
        sites=inventory.sites,
        hosts=tuple(replace(host, name=hosts[host.name]) for host in inventory.hosts),
        vms=tuple(replace(vm, name=fresh[vm.name], host=hosts[vm.host]) for vm in inventory.vms),
    )
    plan = plan_of(odd, 6)
    moves = tuple(replace(move, id=f"{name}{move.id}", reason=name) for move in plan.moves)
    plan = replace(plan, moves=moves, notes=(name,), tool_version=name)
    outcome = (*outcome_of(plan), Actual(move_id="stranger", status=name, reason=name))
    page = check_page(render(plan, actual=outcome, title=name, generated_at=name))
    shown = name.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown in "".join(page.words)


def test_the_same_input_gives_the_same_page_whatever_the_user_has_set(plan: Plan) -> None:
    first = render(plan, actual=outcome_of(plan))
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path", "text.color": "red"}):
        settings = dict(mpl.rcParams)
        second = render(plan, actual=outcome_of(plan))
        assert dict(mpl.rcParams) == settings
    assert first == second


def test_a_plan_without_moves_or_predictions(plan: Plan) -> None:
    nothing = check_page(render(replace(plan, moves=(), status="nothing to do")))
    assert "Nothing is moved." in nothing.text
    assert "Timeline" not in nothing.text
    bare = check_page(render(replace(plan, moves=tuple(replace(m, prediction=None) for m in plan.moves))))
    assert "Timeline" not in bare.text


def test_a_page_lists_several_goals_with_their_bounds_and_one_goal_without_a_table() -> None:
    plan = plan_of(estate(4), 6)
    page = render(of_two_goals(plan))
    assert '<th scope="row">spread</th><td>guests beyond</td>' in page
    assert "lower bound 4, proven optimal" in page
    assert "lower bound 1, gap 20.0 %" in page
    assert "Goals, in the order of their ranks" not in render(plan)
