"""The names of `import latentpath`, and the example of the README, which runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import latentpath
from latentpath.judge.classifier import Classifier
from latentpath.judge.networks import build_network

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def judge(tmp_path: Path) -> None:
    """A classifier of random weights where the example looks for the demo's."""
    network = build_network("resnet_micro", num_outputs=2, pretrained=False)
    folder = tmp_path / "outputs" / "demo" / "classify"
    folder.mkdir(parents=True)
    Classifier(
        network, arch="resnet_micro", image_size=64, classes=["NV"], attributes=["hair", "ruler"]
    ).save(folder)


def test_the_example_of_the_readme_runs(judge, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, str(README), "exec"), names)
    assert names["images"].shape == (14, 3, 64, 64)
    assert len(names["scores"]) == len(names["leaves"]) == 14
    assert names["plan"].calls_per_seed == 46 and names["plan"].plain_calls_per_seed == 70
    assert names["sampler"].denoise.calls == 2 * 46
    table = capsys.readouterr().out
    assert "cfrt_strict" in table and "ruler" in table


def test_every_name_is_there_and_nothing_heavy_is_imported_before():
    probe = (
        "import sys, latentpath; print(sorted({'torch', 'pandas', 'numpy', 'diffusers'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
    for name in dir(latentpath):
        assert getattr(latentpath, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'wlak'"):
        _ = latentpath.wlak  # pyright: ignore[reportAttributeAccessIssue]
