"""A figure as SVG that may stand inside a page."""

from __future__ import annotations

import io
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from drsim.report.palette import PALETTE
from drsim.report.text import visible

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

_SETTINGS = threading.Lock()
_NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline_svg(
    draw: Callable[[], Figure], *, name: str, title: str, description: str, titles: Mapping[str, str] | None = None
) -> Markup:
    """Draw a figure and write it as an SVG element, the same bytes each time.

    Matplotlib's defaults are in force while it draws, whatever the user has set, and the user's settings afterwards.
    Text stays text, identities are made unique to the page, colours become variables of the style sheet.

    Parameters
    ----------
    draw : callable
        Returns the figure.
    name : str
        Letters and hyphens; unique on the page.
    title, description : str
        What a screen reader says of it.
    titles : mapping of str to str, optional
        Identity of a part of the figure -> what it says when pointed at.

    Returns
    -------
    Markup
        An ``<svg>`` element without fixed size and without references to anything outside.
    """
    target = io.BytesIO()
    # rc_context changes the process's settings for a moment: one drawing at a time.
    with _SETTINGS, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name})
        draw().savefig(target, format="svg", metadata=_NOTHING)
    root = ET.fromstring(target.getvalue())
    _strip(root)
    _rename(root, name)
    _theme(root)
    _say(root, name, titles or {})
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, text in (("desc", description), ("title", title)):
        element = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = visible(text)
        root.insert(0, element)
    return Markup(_serialised(root))


def write_svg(figure: Figure, path: Path) -> None:
    """Write a figure as an SVG file: the same figure, the same bytes."""
    with _SETTINGS, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):
        figure.savefig(path, format="svg", metadata=_NOTHING)


def _strip(root: ET.Element) -> None:
    """Drop the size in points, matplotlib's own style sheet (it would reach the page) and its metadata."""
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for defs in root.findall(f"{{{SVG}}}defs"):
        if not len(defs):
            root.remove(defs)


def _rename(root: ET.Element, name: str) -> None:
    ids = {element.get("id"): f"{name}-{element.get('id')}" for element in root.iter() if element.get("id")}
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute == "id":
                element.set(attribute, ids[value])
            elif attribute == f"{{{XLINK}}}href" and value[1:] in ids:
                element.set(attribute, "#" + ids[value[1:]])
            elif "url(#" in value:
                head, _, rest = value.partition("url(#")
                old, _, tail = rest.partition(")")
                element.set(attribute, f"{head}url(#{ids.get(old, old)}){tail}")


def _say(root: ET.Element, name: str, titles: Mapping[str, str]) -> None:
    by_id = {f"{name}-{part}": text for part, text in titles.items()}
    for element in root.iter():
        if (text := by_id.get(element.get("id", ""))) is not None:
            title = ET.Element(f"{{{SVG}}}title")
            title.text = visible(text)
            element.insert(0, title)


def _serialised(root: ET.Element) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        if (href := element.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
            element.set("href", href)
    return ET.tostring(root, encoding="unicode")


def _theme(root: ET.Element) -> None:
    for element in root.iter():
        for attribute in ("style", "fill", "stroke"):
            if (value := element.get(attribute)) is not None:
                for variable, colour in PALETTE.items():
                    value = value.replace(colour, f"var(--{variable})")
                element.set(attribute, value)
