"""One self-contained page from a template."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from drsim.report import text
from drsim.report.palette import PALETTE
from drsim.version import __version__


def compose(package: str, template: str, **values: Any) -> str:
    """Fill a template.

    Every value is escaped, and control characters in it are spelt out, unless it is `markupsafe.Markup`.

    Parameters
    ----------
    package : str
        Package whose folder ``templates`` holds the template; it may extend ``base.html`` of the report, which asks for
        ``title``, ``subtitle`` and ``generated_at``.
    template : str
        Name of the file.
    **values
        What the template asks for; one that is missing is an error.

    Returns
    -------
    str
        HTML.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("drsim.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "duration": _known(text.duration),
        "milliseconds": _known(text.milliseconds),
        "size": _known(text.size),
        "percent": _known(text.percent),
        "signed": _known(lambda share: text.percent(share, signed=True)),
        "fixed": _known(lambda value: f"{value:.3f}"),
        "number": _known(lambda value: f"{value:.4g}"),
        "route": text.route,
        "how_long": text.how_long,
    }
    return environment.get_template(template).render(version=__version__, palette=PALETTE, **values)


def _finalize(value: Any) -> Any:
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _known(write: Callable[[float], str]) -> Callable[[float | None], str]:
    """Write a dash for what is not known."""
    return lambda value: "–" if value is None or math.isnan(value) else write(value)
