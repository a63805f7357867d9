"""Colours with one meaning each, in figures and pages alike.

Hues are those of Okabe and Ito (2008, "Color Universal Design"), which people with any colour vision tell apart. A page
replaces each by a variable of its style sheet, so that figures follow light and dark.
"""

from __future__ import annotations

INK = "#1c2024"
MUTED = "#5f6b7a"
GRID = "#d9dde3"
SHADE = "#f1f3f6"
BEFORE = "#aab4c0"
PREDICTED = "#0072b2"
ACTUAL = "#e69f00"
BAD = "#c2410c"

PALETTE = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "shade": SHADE,
    "before": BEFORE,
    "predicted": PREDICTED,
    "actual": ACTUAL,
    "bad": BAD,
}
"""Name of the style variable -> colour on a light page."""
