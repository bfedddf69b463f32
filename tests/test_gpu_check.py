"""experiments/gpu: the check runs on a CPU too, small, and loses no result to a crash or a time-out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "gpu"


@pytest.fixture(scope="module")
def scripts():
    """check.py, table.py and wheels.py, imported as check.py imports the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import check
        import table
        import wheels

        yield SimpleNamespace(check=check, table=table, wheels=wheels)
        for name in ("check", "table", "wheels"):
            sys.modules.pop(name, None)


def test_every_command_runs_and_gives_what_the_cpu_gives(tiny_sd, tmp_path):
    out = tmp_path / "runs.json"
    words = ["--device", "cpu", "--tiny", "--model", str(tiny_sd), "--out", str(out)]
    done = subprocess.run([sys.executable, FOLDER / "runs.py", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    failed = {check["name"]: check["error"] for check in found["checks"] if check["state"] != "passed"}
    assert not failed, done.stderr[-3000:]
    assert len(found["checks"]) == found["planned"] > 10
    figures = {check["name"]: check["figures"] for check in found["checks"]}
    assert figures["latents as on the CPU"]["largest_difference"] <= 1e-3
    assert figures["scores as on the CPU"]["largest_difference"] <= 1e-3


def test_a_step_out_of_time_keeps_what_it_wrote_and_the_next_one_runs(scripts, tmp_path, monkeypatch, capsys):
    script, written = tmp_path / "slow.py", tmp_path / "out" / "hangs.json"
    script.write_text(
        "import sys, time\n"
        "open(sys.argv[-1], 'w').write('{}')\n"
        "time.sleep(0 if 'quick' in sys.argv else 1000)\n"
    )
    step = scripts.check.Step
    monkeypatch.setattr(scripts.check, "STEPS", (step("hangs", 60, ""), step("ends", 60, "", ("quick",))))

    def command(self: Any, device: str, out: Path, tiny: bool) -> list[str]:
        return [sys.executable, str(script), *self.arguments, str(out / f"{self.name}.json")]

    monkeypatch.setattr(step, "command", command)
    for name in ("hangs", "ends"):
        monkeypatch.setitem(scripts.table.FIGURES, name, lambda step, found: iter(()))
    waits = subprocess.Popen.wait

    def out_of_time(process, timeout=None):
        """Time ends for the step that hangs as soon as it has written its file."""
        if timeout is None or "quick" in process.args:
            return waits(process, timeout)
        while not written.exists():
            assert process.poll() is None, "the step ended without its file"
            time.sleep(0.05)
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", out_of_time)
    monkeypatch.setattr(sys, "argv", ["check.py", "--out", str(tmp_path / "out")])
    assert scripts.check.main() == 1
    ended = json.loads((tmp_path / "out" / "summary.json").read_text())["steps"]
    assert ended["hangs"]["state"].startswith("stopped") and ended["ends"]["state"] == "done"
    assert written.exists()
    assert "stopped" in capsys.readouterr().out


def test_no_step_is_started_without_time_for_it(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check.py", "--out", str(tmp_path), "--budget", "1"])
    assert scripts.check.main() == 1
    ended = json.loads((tmp_path / "summary.json").read_text())["steps"]
    assert {step["state"] for step in ended.values()} == {scripts.check.NOT_RUN["state"]}


@pytest.fixture
def checked(tmp_path) -> Path:
    """The folder of a check whose sweep met its goals but one, and whose fine-tune was stopped."""
    way = {"batch_size": 16, "peak_gb": 9.0, "mfu": 0.41}
    ways = {
        "plain, eager": way | {"images_a_second": 1.0},
        "latentpath": way | {"images_a_second": 5.0},
        "plain, compiled": way | {"images_a_second": 4.0},
    }
    steps = {
        "sweep": {"state": "done", "seconds": 300.0},
        "finetune": {"state": "stopped after 240 s", "seconds": 240.0},
    }
    (tmp_path / "summary.json").write_text(json.dumps({"tiny": False, "device": "cuda", "steps": steps}))
    (tmp_path / "sweep.json").write_text(json.dumps({"device": "a GPU", "torch": "2.11", "ways": ways}))
    return tmp_path


def test_the_table_holds_figures_to_their_goals(scripts, checked):
    found = {(line.step, line.figure): line for line in scripts.table.lines(checked)}
    assert found["sweep", "MFU"].met == "met"
    assert found["sweep", "images a second against plain, eager"].value == "5.00 x"
    assert found["sweep", "images a second against plain, compiled"].met == "missed"
    assert found["finetune", ""].value == "stopped after 240 s, 240 s"


def test_only_a_check_of_a_gpu_is_written_into_the_readme(scripts, checked, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text((FOLDER / "README.md").read_text())
    monkeypatch.setattr(scripts.check, "README", readme)
    assert scripts.check.fill_readme(checked) == 0
    assert "| sweep | MFU | 41 % | at least 40 % | met |" in readme.read_text()
    assert readme.read_text().count("<!-- end -->") == 1
    summary = json.loads((checked / "summary.json").read_text())
    (checked / "summary.json").write_text(json.dumps(summary | {"tiny": True}))
    before = readme.read_text()
    assert scripts.check.fill_readme(checked) == 2 and readme.read_text() == before


def test_every_wheel_is_locked(scripts):
    assert all("==" in scripts.wheels.locked(name) for name in scripts.wheels.PACKAGES)


def test_a_tiny_try_overrides_the_sizes_of_its_step(scripts):
    """argparse takes the last of a repeated option, so the tiny sizes must come after the full ones."""
    for step in scripts.check.STEPS:
        words = step.command("cpu", Path("out"), tiny=True)
        assert words[-1] == f"out/{step.name}.json" and words[-3] == "cpu"
        module = words[words.index("-m") + 1]
        assert (FOLDER.parents[1] / module.replace(".", "/")).with_suffix(".py").is_file()
        if "sd15" in words:
            assert words[::-1].index("phantom-sd") < words[::-1].index("sd15")


def test_a_failed_check_is_noted_and_the_next_one_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import runs

    def fails() -> None:
        raise ValueError("no such kernel")

    checks = runs.Checks(tmp_path / "runs.json")
    checks("first", fails)
    checks("second", lambda: {"loss": 0.5})
    checks.run()
    first, second = json.loads((tmp_path / "runs.json").read_text())["checks"]
    assert first["state"] == "failed" and first["error"] == "ValueError: no such kernel"
    assert second["state"] == "passed" and second["figures"] == {"loss": 0.5}
