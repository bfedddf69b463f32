"""The look of all figures: one palette, one matplotlib style, and SVG that follows a page's dark mode.

Figures have 72 px per inch, so that a point in matplotlib is a px on the page. They are drawn in the colours
for light mode; `to_svg` can replace the colours by CSS variables. Matplotlib is imported only when a figure
is drawn, and never through pyplot, which would keep each figure in a global list.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from latentpath.runs.files import write_text, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Colours in light mode and dark mode. c0 .. c7 are for attributes, `quiet` for what should not change. They
# also differ in lightness, so that readers with colour blindness can tell them apart.
PALETTE = {
    "ink": ("#1d2125", "#e4e7ea"),
    "soft": ("#5b646d", "#9ca5ad"),
    "hair": ("#dcdfe2", "#343a40"),
    "quiet": ("#8f979e", "#737b83"),
    "c0": ("#2468a8", "#76b2ef"),
    "c1": ("#b4460f", "#f29256"),
    "c2": ("#1a6133", "#bdeeb4"),
    "c3": ("#8c2568", "#c076ba"),
    "c4": ("#b98a45", "#d9bc2b"),
    "c5": ("#d62c5a", "#ee5568"),
    "c6": ("#259eb5", "#66e6ea"),
    "c7": ("#6f6350", "#c7c5b8"),
}
COLOURS = {name: light for name, (light, _) in PALETTE.items()}
CYCLE = 8  # c0 .. c7
TIGHT = {"bbox_inches": "tight", "pad_inches": 8 / 72}  # crops a file, with a margin of 8 px
TIP = "\u2028"  # marks the start of each tooltip in a line's gid

# Fonts with characters that DejaVu lacks; a PDF or PNG uses the first one that is installed.
FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "SimHei")
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": COLOURS["soft"],
    "axes.labelsize": 10.5,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "font.size": 10.5,
    "grid.color": COLOURS["hair"],
    "grid.linewidth": 1,
    "legend.columnspacing": 1.6,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.labelcolor": COLOURS["soft"],
    "lines.linewidth": 2,
    "lines.markeredgewidth": 0,
    "lines.markersize": 5.2,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,  # keep text as text
    "savefig.dpi": 288,  # a PNG has four px per px of the page
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.usetex": False,
    "xtick.bottom": False,
    "xtick.major.pad": 6,
    "xtick.color": COLOURS["soft"],
    "xtick.labelsize": 10.5,
    "ytick.color": COLOURS["soft"],
    "ytick.labelsize": 10.5,
    "ytick.left": False,
}


def colour(index: int) -> str:
    """Return the name in `PALETTE` of the colour of the index-th attribute."""
    return f"c{index % CYCLE}"


def colour_variables() -> str:
    """Return CSS that defines --ink, --c0, ... for light mode and dark mode."""
    light, dark = ("".join(f"--{name}:{pair[k]};" for name, pair in PALETTE.items()) for k in (0, 1))
    return f":root{{{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


@contextmanager
def figure_style(**settings: str) -> Iterator[None]:
    """Apply the style of all figures, and additional matplotlib `settings`, within the block."""
    import matplotlib

    with matplotlib.rc_context({**STYLE, "font.family": _fonts(), **settings}):  # pyright: ignore
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` px on a white background."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="white")


def set_tips(line: Line2D, tips: Sequence[str]) -> None:
    """Set the tooltip of each marker of a line; `to_svg` reads it from the line's gid."""
    line.set_gid(TIP + TIP.join(tips))


def save(figure: Figure, file: Path, label: str) -> None:
    """Write the figure as SVG, PDF or PNG without a date; `label` is for screen readers (SVG only)."""
    if file.suffix == ".svg":
        write_text(file, to_svg(figure, file.stem, label))
    else:
        content = BytesIO()
        with figure_style():
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else {}
            figure.savefig(content, format=file.suffix[1:], metadata=metadata, **TIGHT)
        write_whole(file, content.getvalue())


def to_svg(figure: Figure, name: str, label: str, *, inline: bool = False) -> str:
    """Convert the figure to SVG with text as text; equal figures give equal bytes.

    name: makes the ids unique among the figures of a page. label: text for screen readers. inline: for use in
    a page, without a background and with the page's font and colours (`colour_variables`); otherwise for a
    standalone file.
    """
    figure.patch.set_visible(not inline)
    file, nothing = StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with figure_style(**{"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the viewer supplies the glyph
        figure.savefig(file, format="svg", metadata=nothing, **({} if inline else TIGHT))
    text = re.sub(r' (xmlns(:\w+)?|clip-path)="[^"]*"', "", file.getvalue())  # nothing leaves its axes
    text = re.sub(r"<(style|clipPath).*?</\1>", "", text, flags=re.DOTALL).replace("xlink:href", "href")
    text = re.sub(r' style="[^"]*"', lambda found: _restyled(found[0], inline), text)
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for element in root.iter():
        _tidy(element)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": label, "stroke-linejoin": "round"}
    if not inline:
        root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "font-family": "Helvetica, Arial, sans-serif"}
    return ElementTree.tostring(root, encoding="unicode")


def _restyled(style: str, inline: bool) -> str:
    """Remove matplotlib's fonts from a style, and replace colours by the page's variables if `inline`."""
    style = re.sub(r"font-family:[^;\"]*(; )?", "", style)
    for name, light in COLOURS.items() if inline else ():
        style = style.replace(light, f"var(--{name})")
    return style


def _tidy(element: ElementTree.Element) -> None:
    """Add tooltips and one style to markers; drop blanks, extra digits and unused ids."""
    element.tail = None
    if element.tag not in ("text", "title"):
        element.text = None
    _, *tips = element.get("id", "").split(TIP)
    for key, value in list(element.attrib.items()):
        if (key == "id" and element.tag == "g") or value.startswith("rotate(-0"):
            del element.attrib[key]
        elif key in ("d", "x", "y"):
            element.set(key, re.sub(r"\d+\.\d+", lambda m: f"{float(m[0]):.1f}", value))
    markers = list(element.iter("use"))
    for marker, tip in zip(markers, tips, strict=False):
        ElementTree.SubElement(marker, "title").text = tip
    if list(element) == markers and len({marker.get("style") for marker in markers}) == 1:
        element.set("style", markers[0].get("style", ""))
        for marker in markers:
            marker.attrib.pop("style", None)


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names

    there = set(get_font_names())
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in there)]
