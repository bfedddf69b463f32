"""Check that everything runs on a GPU and how fast, within one time budget, the most valuable step first.

    python experiments/gpu/check.py                          # on a GPU; 560 s
    python experiments/gpu/check.py --device cpu --tiny      # the same code, tiny, on a CPU
    python experiments/gpu/check.py --wheels DIR             # download wheels for a machine without network
    python experiments/gpu/check.py --fill FOLDER            # write the results of a check into README.md

Every step is a separate process with a time limit. It writes FOLDER/<step>.json as it goes, so a step that
crashes or runs out of time keeps the results that it already has.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from table import as_markdown, as_text, lines
from wheels import fetch_wheels

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
README = HERE / "README.md"
LEAST = 30  # seconds; no further step starts if less time is left


@dataclass(frozen=True)
class Step:
    """A module of experiments/ with its arguments; `tiny` holds arguments that override them on a CPU."""

    name: str
    limit: int  # seconds
    module: str
    arguments: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()

    def command(self, device: str, out: Path, tiny: bool) -> list[str]:
        words = [sys.executable, "-m", f"experiments.{self.module}", *self.arguments]
        words += self.tiny if tiny else ()
        return [*words, "--device", device, "--out", str(out / f"{self.name}.json")]


SMALL = ("--model", "phantom-sd", "--image-size", "32")
FEW = ("--batch-size", "4", "--images", "8", "--steps", "1", "--rounds", "1")
STEPS = (
    Step("runs", 200, "gpu.runs", tiny=("--tiny",)),
    Step(
        "sweep",
        360,
        "bench_traversal.gpu",
        ("--seeds", "8", "--plain-batch-sizes", "16"),
        (*SMALL, "--seeds", "1", "--steps", "3", "--plain-batch-sizes", "1", "--no-compile"),
    ),
    Step(
        "finetune",
        240,
        "bench_finetune.run",
        (
            *("--model", "sd15", "--image-size", "512", "--precision", "bf16-mixed"),
            *("--batch-size", "32", "--images", "64", "--rounds", "1", "--compile"),
        ),
        (*SMALL, *FEW, "--no-compile", "--precision", "32-true"),
    ),
    Step(
        "micro",
        150,
        "gpu.micro",
        tiny=(*SMALL, "--batch-sizes", "1", "--no-compile"),
    ),
    Step(
        "finetune_128",
        120,
        "bench_finetune.run",
        (
            *("--model", "phantom-sd", "--image-size", "128", "--precision", "bf16-mixed"),
            *("--batch-size", "64", "--images", "256", "--steps", "50", "--rounds", "1", "--compile"),
        ),
        (*SMALL, *FEW, "--no-compile", "--precision", "32-true"),
    ),
)


def main() -> int:
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small sizes, to test the script")
    parser.add_argument("--budget", type=float, default=560, help="seconds for all steps together")
    parser.add_argument("--steps", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check"))
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="download wheels into DIR and exit")
    parser.add_argument("--fill", type=Path, metavar="FOLDER", help="write FOLDER into README.md and exit")
    args = parser.parse_args()
    if args.wheels:
        return fetch_wheels(args.wheels)
    if args.fill:
        return fill_readme(args.fill)
    ended = time.monotonic() + args.budget
    args.out.mkdir(parents=True, exist_ok=True)
    summary = {"tiny": args.tiny, "device": args.device, "steps": {}}
    for step in STEPS:
        if step.name in args.steps:
            left = ended - time.monotonic()
            summary["steps"][step.name] = run(step, args, min(step.limit, left)) if left > LEAST else NOT_RUN
            (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(as_text(lines(args.out)))
    return int(any(state["state"] != "done" for state in summary["steps"].values()))


NOT_RUN = {"state": "not run, no time left", "seconds": 0.0}


def run(step: Step, args: argparse.Namespace, limit: float) -> dict[str, str | float]:
    """Run a step for at most `limit` seconds and return how it ended."""
    print(f"==== {step.name}, {limit:.0f} s at most", flush=True)
    (args.out / f"{step.name}.json").unlink(missing_ok=True)
    places = (REPOSITORY / "src", REPOSITORY)  # of the packages latentpath and experiments
    path = os.pathsep.join([*map(str, places), *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.monotonic()
    # A separate session, so that the processes that compile kernels end with the step.
    process = subprocess.Popen(
        step.command(args.device, args.out, args.tiny),
        env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        status = process.wait(timeout=limit)
        state = "done" if status == 0 else f"failed with status {status}"
    except subprocess.TimeoutExpired:
        state = f"stopped after {limit:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {"state": state, "seconds": round(time.monotonic() - began, 1)}


def fill_readme(folder: Path) -> int:
    """Write the table of `folder` between the two marks of README.md; return the exit status."""
    summary = json.loads((folder / "summary.json").read_text())
    if summary["tiny"] or summary["device"] != "cuda":
        print(f"{folder} was made with --tiny or on a CPU, so its times say nothing about a GPU.")
        return 2
    before, mark, rest = README.read_text().partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    assert mark and end, f"{README} has lost its marks"
    README.write_text(before + mark + as_markdown(lines(folder)) + end + after)
    print(f"wrote {README}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
