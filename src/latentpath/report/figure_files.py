"""Every chart of the page as a file for print: SVG, or PDF and PNG through the extra `figures`."""

import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from markupsafe import escape

from latentpath.errors import UserError
from latentpath.report.figures import Chart

FORMATS = ("svg", "pdf", "png")
PNG_SCALE = 4  # px of a PNG for each point of the PDF: 288 dpi, three px for each of the page's
_GAP, _LEGEND, _MARGIN = 18, 22, 6

# The page's light colours and strokes as attributes: other programs know no custom properties.
_COLOURS = {"ink": "#1d2125", "quiet": "#9aa2a9", "soft": "#5b646d", "hair": "#dcdfe2"} | {
    f"c{k}": colour
    for k, colour in enumerate(
        ("#2468a8", "#bd4f12", "#1f7f55", "#8146a5", "#ad3058", "#75670f", "#127f8e", "#6c5344")
    )
}
_TEXT = 'font-family="Helvetica, Arial, sans-serif"'
_STYLES = {
    "t": f'{_TEXT} font-size="12.5" font-weight="bold" fill="{_COLOURS["ink"]}"',
    "n": f'{_TEXT} font-size="10.5" fill="{_COLOURS["soft"]}"',
    "v": f'{_TEXT} font-size="11" fill="{_COLOURS["ink"]}"',
    "grid": f'stroke="{_COLOURS["hair"]}" stroke-width="1" fill="none"',
    "frame": f'stroke="{_COLOURS["hair"]}" stroke-width="1" fill="none"',
    "line": 'fill="none" stroke="{}" stroke-width="2" stroke-linejoin="round"',
    "line dash": 'fill="none" stroke="{}" stroke-width="1.4" stroke-dasharray="4 3"',
    "band": 'fill="{}" fill-opacity="0.12" stroke="none"',
    "dot": 'fill="{}" stroke="none"',
    "dot dash": 'fill="{}" fill-opacity="0.55" stroke="none"',
    "mark": 'fill="{}"',
}


def write_figures(charts: Iterable[Chart], folder: Path, format: str) -> list[Path]:
    """`folder`/<name>.<format> of each chart. Raises UserError for a format unknown or not installed."""
    if format not in FORMATS:
        raise UserError(f"figures is {format!r}. Choose from: {', '.join(FORMATS)}.")
    convert = {"svg": lambda svg: svg.encode(), "pdf": to_pdf, "png": to_png}[format]
    written = []
    for chart in charts:
        content = convert(to_svg(chart))
        folder.mkdir(parents=True, exist_ok=True)
        written.append(folder / f"{chart.name}.{format}")
        written[-1].write_bytes(content)
    return written


def to_svg(chart: Chart) -> str:
    """All panels and the legend in one picture that needs no style sheet."""
    panels = [_panel(str(panel)) for panel in chart.panels]
    columns = min(chart.columns, len(panels))
    wide, tall = max(w for w, _, _ in panels), max(h for _, h, _ in panels)
    width = columns * (wide + _GAP) - _GAP + 2 * _MARGIN
    legend, below = _legend(chart, width)
    rows = -(-len(panels) // columns)
    height = below + rows * (tall + _GAP) - _GAP + 2 * _MARGIN
    parts = list(legend)
    for k, (_, _, content) in enumerate(panels):
        x, y = _MARGIN + k % columns * (wide + _GAP), below + _MARGIN + k // columns * (tall + _GAP)
        parts.append(f'<g transform="translate({x},{y})">{content}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>\n'
    )


def to_pdf(svg: str) -> bytes:
    try:
        from reportlab.graphics import renderPDF
        from svglib.svglib import svg2rlg
    except ImportError:
        raise _missing("pdf") from None
    drawing = svg2rlg(BytesIO(svg.encode()))
    assert drawing is not None, "our own SVG is well formed"
    document = BytesIO()
    renderPDF.drawToFile(drawing, document)
    return document.getvalue()


def to_png(svg: str) -> bytes:
    try:
        import pypdfium2
    except ImportError:
        raise _missing("png") from None
    with pypdfium2.PdfDocument(to_pdf(svg)) as document:
        image = document[0].render(scale=PNG_SCALE).to_pil()
    data = BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


def _panel(svg: str) -> tuple[int, int, str]:
    """(width, height, content) of a panel of the page, with attributes in the place of classes."""
    found = re.match(r'<svg[^>]*viewBox="0 0 (\d+) (\d+)"[^>]*>(.*)</svg>$', svg, re.S)
    assert found, "the panels are those of svg.py"
    content = re.sub(r"<title>.*?</title>", "", found[3])
    return int(found[1]), int(found[2]), re.sub(r'class="([^"]+)"', lambda m: _style(m[1]), content)


def _style(classes: str) -> str:
    names = classes.split()
    kind = " ".join(name for name in names if name not in _COLOURS)
    colour = next((_COLOURS[name] for name in names if name in _COLOURS), _COLOURS["ink"])
    return _STYLES[kind].format(colour)


def _legend(chart: Chart, width: int) -> tuple[list[str], int]:
    """The keys in rows above the panels, and how tall that is."""
    parts, x, y = [], _MARGIN, _MARGIN
    for key, text in chart.legend:
        wide, _, drawn = _key(str(key))
        needed = wide + 8 + 5.6 * len(text)
        if x > _MARGIN and x + needed > width:
            x, y = _MARGIN, y + _LEGEND
        parts.append(f'<g transform="translate({x:.1f},{y})">{drawn}</g>')
        at = f'x="{x + wide + 6:.1f}" y="{y + 9}"'
        parts.append(f"<text {at} {_STYLES['n']}>{escape(text)}</text>")
        x += needed + 16
    return parts, y + _LEGEND if chart.legend else _MARGIN


def _key(svg: str) -> tuple[int, int, str]:
    found = re.match(r'<svg[^>]*viewBox="0 0 (\d+) (\d+)"[^>]*>(.*)</svg>$', svg, re.S)
    assert found, "the keys are those of svg.py"
    return int(found[1]), int(found[2]), re.sub(r'class="([^"]+)"', lambda m: _style(m[1]), found[3])


def _missing(format: str) -> UserError:
    return UserError(
        f"figures={format}: not installed (svglib, pypdfium2); run `pip install 'latentpath[figures]'`, or "
        "take figures=svg, which needs nothing"
    )
