"""The page about a comparison."""

from __future__ import annotations

from drsim.report.page import compose
from drsim.report.svg import inline_svg
from drsim.report.text import count, summary
from drsim.whatif.cases import Comparison
from drsim.whatif.figure import draw_cases


def render(comparison: Comparison, *, title: str | None = None, generated_at: str | None = None) -> str:
    """Write one self-contained HTML page about a comparison.

    Parameters
    ----------
    comparison : Comparison
        Cases and their plans.
    title : str, optional
        Heading; by default one with the name of the estate.
    generated_at : str, optional
        When the report was written, as it shall stand on the page; left out by default.

    Returns
    -------
    str
        HTML; the same bytes for the same input.
    """
    baseline = comparison.cases[0].inventory
    feasible = sum(case.feasible for case in comparison.cases)
    return compose(
        "drsim.whatif",
        "whatif.html",
        title=title or f"What if: {baseline.name}",
        subtitle=f"{count(len(baseline.hosts), 'host')}, {count(len(baseline.vms), 'guest')}",
        generated_at=generated_at,
        verdict=f"{feasible} of {count(len(comparison.cases), 'case')} can be carried out with every guest in place.",
        shared=comparison.shared,
        rows=comparison.table.reset_index().to_dict("records"),
        cases=[
            {"case": case, "summary": summary(case.plan) if case.plan is not None else []} for case in comparison.cases
        ],
        figure_svg=inline_svg(
            lambda: draw_cases(comparison),
            name="fig-cases",
            title="CPU and memory in use in each case",
            description="Two bars a case, with the capacity. The table above has the numbers.",
        ),
        baseline=baseline,
    )
