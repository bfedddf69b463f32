"""The palette and the style that all figures share."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest

from latentpath.runs.figure_style import COLOURS, CYCLE, PALETTE, colour, figure_style, new_figure, to_svg

PAPER = ("#fdfdfc", "#15181b")
# How linear RGB looks to eyes without one kind of cone (Machado, Oliveira and Fernandes, 2009, severity 1).
EYES = {
    "all cones": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(code: str) -> np.ndarray:
    share = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("paper", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_their_paper(paper):
    light = [
        float(TO_XYZ[1] @ linear(code)) for code in (PAPER[paper], *(p[paper] for p in PALETTE.values()))
    ]
    ratios = {
        name: (max(light[0], y) + 0.05) / (min(light[0], y) + 0.05)
        for name, y in zip(PALETTE, light[1:], strict=True)
    }
    assert min(ratio for name, ratio in ratios.items() if name != "hair") >= 2.9, ratios
    assert min(ratios["ink"], ratios["soft"]) >= 4.5  # text


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("paper", [0, 1], ids=["light", "dark"])
def test_attributes_are_told_apart_by_all_eyes(paper, eyes):
    seen = {
        name: lab(np.array(EYES[eyes]) @ linear(PALETTE[name][paper])) for name in map(colour, range(CYCLE))
    }
    apart = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)}
    assert min(apart.values()) > 8, min(apart.items(), key=lambda item: item[1])
    first = {pair: d for pair, d in apart.items() if max(pair) <= "c4"}  # few runs have more attributes
    assert min(first.values()) > 14, min(first.items(), key=lambda item: item[1])


def test_the_style_leaves_no_trace():
    before = dict(matplotlib.rcParams)
    with figure_style():
        axes = new_figure(100, 80).add_subplot()
        axes.set_title("a $ b $ c")
    svg = to_svg(axes.figure, "name", 'says "it"')
    assert dict(matplotlib.rcParams) == before
    assert svg == to_svg(axes.figure, "name", 'says "it"')
    assert "a $ b $ c" in svg and 'aria-label="says &quot;it&quot;"' in svg
    assert 'width="116' not in svg and COLOURS["ink"] in svg and "dc:date" not in svg


def test_matplotlib_waits_for_the_first_figure(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, latentpath.report.page, latentpath.runs.sweeps.table; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
