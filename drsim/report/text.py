"""Numbers and names as people read them, and the verdict on a plan in a few lines."""

from __future__ import annotations

from drsim.plan import Move, Plan, Prediction, Score
from drsim.report.shares import contention

REACHED = 1e-6
"""What a score may be above its bound and is as good as it."""


def visible(text: str) -> str:
    r"""Spell out characters that a terminal or a page would obey instead of show, e.g. ``\x1b``; keep line ends.

    Names come from hypervisors and files: one may hold escape sequences or marks that turn the reading direction.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """Write a duration: ``0.8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(mib: float) -> str:
    """Write an amount of data: ``512 MiB``, ``3.4 GiB``, ``1.2 TiB``."""
    if round(mib) < 1024:
        return f"{mib:.0f} MiB"
    return f"{mib / 1024:.1f} GiB" if round(mib / 1024, 1) < 1024 else f"{mib / 1024**2:.1f} TiB"


def milliseconds(ms: float) -> str:
    """Write a downtime: ``42 ms``, ``1.8 s``."""
    return f"{ms:.0f} ms" if round(ms) < 1000 else f"{ms / 1000:.1f} s"


def count(number: int, thing: str) -> str:
    """Write a number of things: ``1 move``, ``3 moves``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def percent(share: float, *, signed: bool = False) -> str:
    """Write a share: ``12.5 %``; signed for errors."""
    return f"{share:+.1%}".replace("%", " %") if signed else f"{share:.1%}".replace("%", " %")


def route(move: Move, arrow: str = "->") -> str:
    """Say where a move goes: ``h1 -> h2``; of disks alone which they are, and where: ``vda on h1``."""
    return (
        f"{', '.join(move.copy_disks)} on {move.source}"
        if move.storage_only
        else f"{move.source} {arrow} {move.target}"
    )


def how_long(move: Move, said: Prediction) -> str:
    """Say how long a move takes; where disks decide it, within which band, for that is a wide one."""
    low_s, high_s = said.total_time_low_s, said.total_time_high_s
    if not move.copy_disks or low_s is None or high_s is None:
        return duration(said.total_time_s)
    return f"{duration(said.total_time_s)} ({duration(low_s)} to {duration(high_s)})"


def wish(plan: Plan) -> str:
    """Say what was asked for: ``balance``, ``evacuate h1, h2``."""
    return f"{plan.objective.spelled} {', '.join((*plan.objective.hosts, *plan.objective.datastores))}".strip()


def parts(plan: Plan) -> list[tuple[str, str]]:
    """Say of each of several goals where it was, where it is with the plan, and the least that it can be."""
    said = []
    for before, after in zip(plan.before.parts, plan.after.parts, strict=True):
        weight = "" if after.weight == 1.0 else f", weight {after.weight:g}"
        bound = "" if after.lower_bound is None else f"; {above(after.value, after.lower_bound)}"
        figures = f"{before.value:.4g} -> {after.value:.4g} ({after.unit}{bound})"
        shares = f"share {before.share:.4g} -> {after.share:.4g}{weight}"
        said.append((f"{after.rank}. {after.goal}", f"{figures}, {shares}"))
    return said


def above(value: float, bound: float) -> str:
    """Say how far a score is from what is known to be the least: a share of it, or how much where that is nothing."""
    if value <= bound + REACHED:
        far = "proven optimal"
    else:
        far = (
            f"gap {percent((value - bound) / value)}" if bound > 0.0 else f"at most {value - bound:.4g} above the least"
        )
    return f"lower bound {bound:.4g}, {far}"


def score_text(score: Score) -> str:
    """Write a score: the objective, and what is broken if anything is."""
    parts = [f"{score.objective:.4g}"]
    if score.violations:
        parts.append(count(score.violations, "violation"))
    if score.penalty:
        parts.append(f"penalty {score.penalty:.4g}")
    return ", ".join(parts)


def proof(plan: Plan) -> str:
    """Say how far from the best possible the plan is known to be; empty without a bound."""
    if plan.lower_bound is None or plan.gap is None:
        return ""
    return above(plan.after.objective, plan.lower_bound)


def carried(plan: Plan) -> str:
    """Say how much a plan carries: ``3.4 GiB over the network``, ``80.0 GiB of disks on their hosts``."""
    if not plan.disks_only:
        sent_mib = sum(move.prediction.sent_mib for move in plan.moves if move.prediction is not None)
        return f"{size(sent_mib)} over the network"
    vms = plan.inventory.vm_by_name
    disks = (disk for move in plan.moves for disk in vms[move.vm].disks if disk.name in move.copy_disks)
    return f"{size(sum(disk.data_mib for disk in disks))} of disks on their hosts"


def verdict(plan: Plan) -> str:
    """Say in one sentence what a plan achieves and at what price."""
    if not plan.moves:
        left = f"; {count(plan.after.violations, 'violation')} cannot be mended" if plan.after.violations else ""
        return f"Nothing is to be done{left}."
    achieved = []
    if mended := plan.before.violations - plan.after.violations:
        achieved.append(f"mends {count(mended, 'violation')}" if mended > 0 else f"adds {count(-mended, 'violation')}")
    figures = [
        (one.unit, one.value, other.value) for one, other in zip(plan.before.parts, plan.after.parts, strict=True)
    ]
    for unit, was, will in figures or [(plan.after.unit, plan.before.objective, plan.after.objective)]:
        before, after = f"{was:.4g}", f"{will:.4g}"
        if before != after:
            achieved.append(
                f"{'lowers' if will < was else 'raises'} {unit or 'the objective'} from {before} to {after}"
            )
    timed = any(move.prediction is not None for move in plan.moves)
    means = count(len(plan.moves), "move") + (f" in {duration(plan.makespan_s)}" if timed else "")
    return f"The plan {' and '.join(achieved) or 'keeps its score'} with {means}."


def summary(plan: Plan) -> list[str]:
    """Say in a few lines what a plan is for, what it reaches, what it costs and what to know before applying it.

    Parameters
    ----------
    plan : Plan
        Any plan, one without moves too.

    Returns
    -------
    list of str
        One sentence each, without markup; safe to print: control characters in names are spelt out.
    """
    estate = plan.inventory
    lines = [
        f"Asked for: {wish(plan)}, on {estate.name} ({count(len(estate.hosts), 'host')}, "
        f"{count(len(estate.vms), 'guest')}).",
        f"Score ({plan.after.unit or 'objective'}, lower is better): {score_text(plan.before)} -> "
        f"{score_text(plan.after)}" + (f"; {proof(plan)}." if proof(plan) else "."),
        *(f"{goal}: {figures}." for goal, figures in parts(plan)),
    ]
    if (shared := contention(plan)).told:
        lines.append(f"CPU by shares: {shared}.")
    if plan.moves:
        known = [move.prediction for move in plan.moves if move.prediction is not None]
        lines.append(f"{count(len(plan.moves), 'move')} in {count(len(plan.waves), 'wave')}, {carried(plan)}.")
        if known:
            worst = max(known, key=lambda p: p.downtime_ms)
            vm = next(move.vm for move in plan.moves if move.prediction is worst)
            still = f"longest downtime {milliseconds(worst.downtime_ms)} ({vm})"
            lines.append(
                f"Expected to take {duration(plan.makespan_s)}; {'no downtime' if plan.disks_only else still}."
            )
    elif not plan.starts:
        lines.append("Nothing to do.")
    lines.extend(f"Start {start.vm} on {start.host}: {start.reason}." for start in plan.starts)
    lines.extend(f"Warning: {warning}" for warning in warnings(plan))
    return [visible(line) for line in lines]


def warnings(plan: Plan) -> list[str]:
    """List what a person should know before applying a plan: its flags, its guests that do not converge, its notes."""
    found = []
    if not plan.complete:
        found.append("the plan does not reach all that was asked for.")
    if plan.moves and not plan.applyable:
        found.append("the plan must not be applied.")
    if not_converging := [m.vm for m in plan.moves if m.prediction is not None and not m.prediction.converges]:
        found.append(f"pre-copy does not keep the downtime limit of {', '.join(not_converging)}.")
    return found + list(plan.notes)
