"""Why a move must not be made now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a move must not be made now.

    Parameters
    ----------
    kind : str
        ``guest``, ``host``, ``memory``, ``cpu``, ``machine``, ``network``, ``disk``, ``version``, ``transfer``,
        ``clock``, ``tls``, ``ports``, ``line``, ``quiet`` or ``rule``.
    text : str
        What was found and what was expected.
    remedy : str
        What to do, in the imperative.
    """

    kind: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"
