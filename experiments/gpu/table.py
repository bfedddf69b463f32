"""Makes a table of the results of a GPU check: each figure with its target."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TREE, EAGER, COMPILED, EXAMPLE = "latentpath", "plain, eager", "plain, compiled", "diffusers' example"


@dataclass(frozen=True)
class Line:
    """One figure: `value` as text, the `goal` and whether it was met (both empty if there is no goal)."""

    step: str
    figure: str
    value: str
    goal: str = ""
    met: str = ""


def lines(folder: Path) -> list[Line]:
    """List how each step in `folder` ended, and every figure of its JSON file."""
    summary = json.loads((folder / "summary.json").read_text())
    found = []
    for step, ended in summary["steps"].items():
        found.append(Line(step, "", f"{ended['state']}, {ended['seconds']:.0f} s"))
        file = folder / f"{step}.json"
        if file.exists():
            figures = list(FIGURES[step](step, json.loads(file.read_text())))
            # The tiny sizes say nothing about speed.
            tried = summary["tiny"] and step != "runs"
            found += [replace(line, goal="", met="") for line in figures] if tried else figures
    return found


def as_text(found: list[Line]) -> str:
    rows = [("step", "figure", "value", "goal", ""), *(_cells(line) for line in found)]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]])
        for row in rows
    )


def as_markdown(found: list[Line]) -> str:
    rows = ["| step | figure | value | goal | |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(_cells(line))} |" for line in found)]) + "\n"


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    return line.step, line.figure, line.value, line.goal, line.met


def _runs(step: str, found: dict[str, Any]) -> Iterator[Line]:
    checks = found["checks"]
    passed = sum(check["state"] == "passed" for check in checks)
    yield _goal(step, "checks that passed", passed, operator.ge, found["planned"], "{:.0f}")
    for check in checks:
        if check["state"] != "passed":
            yield Line(step, check["name"], check["error"].replace("\n", " ")[:160], "", "missed")
        for name, value in check["figures"].items():
            if name == "largest_difference":
                yield _goal(step, f"{check['name']}, largest difference", value, operator.le, 1e-3, "{:.1e}")
            elif name.startswith("largest_difference"):
                yield Line(step, f"{check['name']}, with TF32 convolutions", f"{value:.1e}")
            elif isinstance(value, str):
                yield Line(step, name, value)


def _sweep(step: str, found: dict[str, Any]) -> Iterator[Line]:
    ways = found["ways"]
    yield Line(step, "device", f"{found['device']}, torch {found['torch']}")
    for way, of_way in ways.items():
        speed = f"{of_way['images_a_second']:.2f} images/s, {of_way['peak_gb']:.1f} GB"
        yield Line(step, f"{way}, batch {of_way['batch_size']}", speed)
    if TREE not in ways:
        return
    ours = ways[TREE]
    if ours["mfu"] is not None:
        yield _goal(step, "MFU", 100 * ours["mfu"], operator.ge, 40, "{:.0f} %")
    for way, times in ((EAGER, 4.0), (COMPILED, 1.8)):
        if way in ways:
            ratio = ours["images_a_second"] / ways[way]["images_a_second"]
            yield _goal(step, f"images a second against {way}", ratio, operator.ge, times, "{:.2f} x")


def _finetune(step: str, found: dict[str, Any]) -> Iterator[Line]:
    held = step == "finetune"  # the published figures are for the size of Stable Diffusion at 512 px
    for way, rate in found["samples_a_second"].items():
        figure, text = f"{way}, batch {found['batch_size']}", f"{rate:.1f} samples/s"
        text += f", {found['peak_gb'][way]:.1f} GB"
        if way == TREE and held:
            yield Line(step, figure, text, "145 samples/s", "met" if rate >= 145 else "missed")
        else:
            yield Line(step, figure, text)
        if found["mfu"][way] is not None and way == TREE:
            mfu = 100 * found["mfu"][way]
            yield (
                _goal(step, "MFU", mfu, operator.ge, 35, "{:.0f} %")
                if held
                else Line(step, "MFU", f"{mfu:.0f} %")
            )
    if found["ratio"] is not None:
        ratio = found["ratio"]
        figure = f"samples a second against {EXAMPLE}"
        yield (
            _goal(step, figure, ratio, operator.ge, 2, "{:.2f} x")
            if held
            else Line(step, figure, f"{ratio:.2f} x")
        )


def _micro(step: str, found: dict[str, Any]) -> Iterator[Line]:
    for part, value in found.items():
        if isinstance(value, dict) and "error" in value:
            yield Line(step, part, value["error"][:160], "", "missed")
    for row in _rows(found, "decode"):
        speed = f"{row['images_a_second']:.1f} images/s, {row['peak_gb']:.1f} GB"
        yield Line(step, f"decode, {row['precision']}, batch {row['batch_size']}", speed)
    for row in _rows(found, "attention"):
        times = [f"{name} {row[name]:.2f}" for name in row if isinstance(row[name], float)]
        figure = f"attention, head {row['head_size']}, {row['tokens']} to {row['context']} tokens, ms"
        yield Line(step, figure, ", ".join(times))
    for part in ("average", "compile"):
        values = found.get(part, {})
        for name in values if "error" not in values else ():
            yield Line(step, f"{part}, {name.replace('_', ' ')}", f"{values[name]:.4g}")


def _rows(found: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return found[part] if isinstance(found.get(part), list) else []


def _goal(
    step: str,
    figure: str,
    value: float,
    holds: Callable[[float, float], bool],
    goal: float,
    form: str,
) -> Line:
    sign = "at least" if holds is operator.ge else "at most"
    met = "met" if holds(value, goal) else "missed"
    return Line(step, figure, form.format(value), f"{sign} {form.format(goal)}", met)


FIGURES: dict[str, Callable[[str, dict[str, Any]], Iterator[Line]]] = {
    "runs": _runs,
    "sweep": _sweep,
    "finetune": _finetune,
    "micro": _micro,
    "finetune_128": _finetune,
}
