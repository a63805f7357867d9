"""Changes as they are spelt on a command line."""

from __future__ import annotations

import math

from drsim.errors import DrsimError
from drsim.whatif.change import AddHosts, Change, Drain, EmptyDatastore, Grow, LoseHost

SPELLINGS = "lose:HOST, drain:HOST, empty:DATASTORE, add:COUNT:LIKE, grow:PERCENT or grow:PERCENT:configured"


def parse_change(text: str) -> Change:
    """Read one change: ``lose:h3``, ``drain:h2``, ``empty:h1:/old``, ``add:2:h1``, ``grow:20``, ``grow:20:configured``.

    Raises
    ------
    DrsimError
        If it is spelt in another way.
    """
    verb, _, rest = text.strip().partition(":")
    match verb, rest:
        case "lose", host if host:
            return LoseHost(host)
        case "drain", host if host:
            return Drain(host)
        case "empty", datastore if datastore:
            return EmptyDatastore(datastore)
        case "add", _:
            count, _, like = rest.partition(":")
            if count.isascii() and count.isdigit() and int(count) > 0 and like:
                return AddHosts(int(count), like)
        case "grow", _:
            percent, _, extent = rest.partition(":")
            if (number := _number(percent)) is not None and extent in ("", "configured"):
                return Grow(number, configured=bool(extent))
    raise DrsimError(f"what-if change '{text}': expected {SPELLINGS}.")


def parse_case(text: str) -> tuple[Change, ...]:
    """Read changes that happen together, separated by commas: ``lose:h3,grow:20``.

    Raises
    ------
    DrsimError
        If one of them is spelt in another way.
    """
    return tuple(parse_change(part) for part in text.split(","))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > -100 else None
