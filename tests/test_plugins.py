"""Plugins: a run uses functions of modules that `plugins` names, and imports no others."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import latentpath
from latentpath.commands import evaluate, leaderboard
from latentpath.config.checks import check
from latentpath.config.plugins import SETTINGS, fingerprints, load
from latentpath.data.captions import CaptionTemplate
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.traversal.methods.own import Own
from latentpath.traversal.words import Prompts

PAGE = Path(latentpath.__file__).parents[2] / "docs" / "extending.md"
OVERRIDES = [
    "experiment=demo",
    "name=tiny",
    "plugins=[my_module]",
    "dataset.layout=my_module:read",
    "dataset.phantom.count=0",
    "dataset.attributes=[hair,ink]",
    "dataset.image_size=32",
    "method=[swap,placebo]",
    "attribute.methods=[my_module:ramp,my_module:push]",
    "+attribute.dials.push=[1,4]",
    "metric.measures=[my_module:brightness_change]",
    "classifier.arch=my_module:build",
    "classifier.pretrained=false",
    "classifier.epochs=1",
    "finetune.max_steps=2",
    "finetune.batch_size=4",
    "timesteps.num_inference_steps=4",
    "timesteps.swap_steps=[0,2]",
    "sampler.seeds=2",
    "metric.frames=3",
    "metric.examples=1",
    "metric.resamples=50",
    "metric.lpips=[]",
    "metric.tsne=false",
]


@pytest.fixture(scope="module")
def job(compose, tiny_sd: Path, isic_32: Path, tmp_path_factory: pytest.TempPathFactory):
    """(overrides, run folder, module file) of a run with the very module of the page, on a folder a class."""
    folder = tmp_path_factory.mktemp("plugins")
    module = folder / "code" / "my_module.py"
    module.parent.mkdir()
    module.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    truth = pd.read_csv(isic_32 / "ISIC_2019_Training_GroundTruth.csv")
    inferred = pd.read_csv(isic_32 / "isic_inferred_wocarcinoma.csv")
    for k, (image, cls) in enumerate(zip(truth["image"], truth.iloc[:, 1:].idxmax(axis=1), strict=True)):
        visible = "+".join(name for name in ("hair", "ink") if inferred[name][k] > 0.5)
        target = folder / "data" / cls / f"p{k // 2}_{visible}_{k}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(isic_32 / "ISIC_2019_Training_Input" / f"{image}.jpg", target)
    overrides = [
        *OVERRIDES,
        f"dataset.root={folder / 'data'}",
        f"output_dir={folder / 'out'}",
        f"model.name={tiny_sd}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "latentpath", "run", *overrides],
        env=os.environ | {"PYTHONPATH": str(module.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return overrides, folder / "out" / "tiny", module


def test_the_data_set_is_read(job):
    _, folder, module = job
    images = json.loads((folder / "classify" / "manifest.json").read_text())["figures"]["images"]
    files = [file.parent.name for file in (module.parents[1] / "data").rglob("*.jpg")]
    assert sum(images.values()) == sum(cls in ("MEL", "NV") for cls in files) > 10


def test_images_of_the_method_are_scored_and_shown(job):
    _, folder, _ = job
    scores = pd.read_parquet(folder / "evaluate" / "scores.parquet").query("model == 'finetuned'")
    ramp, swap = (scores[scores["method"] == method] for method in ("ramp", "swap"))
    assert len(ramp) == len(swap) == 2 * 2 * 2 * 2  # classes, attributes, seeds, swap steps
    assert (ramp["l1"].to_numpy() != swap["l1"].to_numpy()).all() and (ramp["l1"] > 0).all()
    edits = pd.read_csv(folder / "report" / "tables" / "edits.csv")
    assert (edits.iloc[:, 0] == "ramp").sum() == 2 * 2 * 2
    assert ">ramp<" in (folder / "report" / "index.html").read_text()


def test_a_method_with_a_dial_is_a_mix_and_is_swept_over_it(job):
    _, folder, _ = job
    scores = pd.read_parquet(folder / "evaluate" / "scores.parquet").query("model == 'finetuned'")
    push = scores[scores["method"] == "push"]
    assert sorted(push["strength"].unique()) == [1, 4] and len(push) == 2 * 2 * 2 * 2 * 2
    weak, strong = (push[push["strength"] == dial]["l1"].mean() for dial in (1, 4))
    assert 0 < weak < strong
    plan = json.loads((folder / "traverse" / "plan.json").read_text())
    rows = plan["rows_per_seed_alone"]
    trunk, nodes = 2 * 4, 2 * (4 + 2)  # two rows for each of 4 steps; the nodes of a dial
    assert rows["push"] == trunk + 2 * 3 * nodes and rows["ramp"] == trunk + 2 * nodes


def test_the_methods_are_compared_with_the_swap_on_the_page_and_on_the_leaderboard(job, tmp_path, capsys):
    _, folder, _ = job
    points = pd.read_csv(folder / "evaluate" / "tables" / "front_points.csv")
    assert set(points["method"]) == {"swap", "ramp", "push"} and set(points["swap_step"]) == {0, 2}
    assert set(points[points["method"] == "push"]["strength"]) == {1, 4}
    page = (folder / "report" / "index.html").read_text()
    assert 'id="methods"' in page and 'data-table="fronts"' in page
    leaderboard.main([str(folder), "--out", str(tmp_path / "board")])
    out = capsys.readouterr().out
    assert {"swap", "ramp", "push"} <= set(re.findall(r"swap|ramp|push", out))
    (again,) = [line for line in out.splitlines() if "name=tiny_push" in line]
    assert "attribute.methods=[my_module:push]" in again and "attribute.dials.push=[1.0,4.0]" in again
    rows = list(csv.DictReader((tmp_path / "board" / "tiny.csv").open()))
    assert {row["method"] for row in rows} == {"swap", "ramp", "push"}
    assert {float(row["U-Net rows an image"]) > 0 for row in rows} == {True}


def test_the_measure_has_its_column_and_its_place_on_the_page(job):
    _, folder, _ = job
    scores = pd.read_parquet(folder / "evaluate" / "scores.parquet")
    assert scores.loc[scores["method"] == "neutral", "brightness_change"].eq(0).all()
    changes = scores.loc[scores["method"] == "swap", "brightness_change"]
    assert (changes > 0).all() and (changes <= scores.loc[changes.index, "l1"] + 1e-6).all()
    figures = pd.read_parquet(folder / "evaluate" / "figures.parquet")
    assert (figures["figure"] == "brightness_change").any()
    page = (folder / "report" / "index.html").read_text()
    assert ">brightness change<" in page and "Absolute difference of the mean pixel" in page


def test_the_classifier_is_built_again_only_where_its_module_is_allowed(job, monkeypatch):
    _, folder, module = job
    settings = json.loads((folder / "classify" / "classifier.json").read_text())
    assert settings["arch"] == "my_module:build"
    with pytest.raises(
        UserError, match=r"my_module:build names the module 'my_module', .* add plugins=\[my_module\]"
    ):
        load_classifier(folder / "classify")
    monkeypatch.syspath_prepend(str(module.parent))
    classifier = load_classifier(folder / "classify", plugins=["my_module"])
    assert classifier.network[0].weight.shape == (16, 3, 3, 3)


def test_another_version_of_the_plugin_is_another_configuration(job, compose, monkeypatch):
    overrides, folder, module = job
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.setattr(evaluate, "_evaluate", lambda *_: pytest.fail("complete work was done again"))
    evaluate.run(compose("evaluate", *overrides), folder)
    before = module.read_text()
    try:
        module.write_text(before + "# changed\n")
        with pytest.raises(UserError, match=r"plugins.my_module: \w{16} there, \w{16} now"):
            evaluate.run(compose("evaluate", *overrides), folder)
    finally:
        module.write_text(before)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(name, text)` writes a module where Python finds it; after the test it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def module(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    "override",
    [
        "classifier.arch=os:system",
        "dataset.layout=builtins:open",
        "metric.measures=[shutil:rmtree]",
        "attribute.methods=[subprocess:run]",
        "classifier.arch=trap:build",
    ],
)
@pytest.mark.parametrize("plugins", ["[]", "[other,tra,os.path]"])
def test_a_module_that_plugins_does_not_name_is_refused_and_not_imported(compose, write, override, plugins):
    write("trap.py", "raise SystemExit('imported')")
    reference = override.split("=")[1].strip("[]")
    module = reference.split(":")[0]
    with pytest.raises(
        UserError, match=rf"{reference} names the module '{module}', .* add plugins=\[{module}\]"
    ):
        check(compose("run", override, "dataset.root=x", f"plugins={plugins}"))
    assert "trap" not in sys.modules


@pytest.mark.parametrize("module", ["builtins", "sys"])
def test_a_module_without_a_file_cannot_be_a_plugin(module):
    with pytest.raises(UserError, match="is not your own file"):
        load("classifier.arch", f"{module}:open", [module])


@pytest.mark.parametrize(
    "reference", ["mine:", ":build", "mine:os.system", "mine:a:b", "../mine:build", "mi ne:x"]
)
def test_a_reference_is_a_module_and_a_name(reference):
    with pytest.raises(UserError, match="expected a function of a module: my_module:function"):
        load("classifier.arch", reference, ["mine"])


def test_a_module_of_an_allowed_package_is_loaded(write):
    write("lab/__init__.py", "")
    write("lab/nets.py", "def build(): return 7")
    assert load("classifier.arch", "lab.nets:build", ["lab"])() == 7


@pytest.mark.parametrize(
    "text, said",
    [
        ("import os\nimport not_there\n", r"line 2: import not_there\n  ModuleNotFoundError: .*not_there"),
        ("x = 1\n\ny = x / 0\n", r"line 3: y = x / 0\n  ZeroDivisionError"),
        ("def f(:\n", r"line 1\n.*def f\(:(.|\n)*SyntaxError"),
        ("raise SystemExit(3)\n", r"line 1: raise SystemExit\(3\)"),
    ],
)
def test_an_error_of_the_module_is_shown_with_its_line(write, text, said):
    write("broken.py", text)
    with pytest.raises(UserError, match=r"importing .*broken.py failed") as caught:
        load("classifier.arch", "broken:build", ["broken"])
    assert caught.match(said)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "text, said",
    [
        ("def f(x):\n    return x / 0\n", r"line 2: return x / 0\n  ZeroDivisionError"),
        ("def f(): pass\n", r"TypeError: f\(\) takes 0 positional arguments but 1 was given"),
        ("import sys\ndef f(x): return {}[x]\n", r"line 2: .*\n  KeyError: 1"),
    ],
)
def test_a_call_that_fails_is_shown_with_its_line(write, setting, text, said):
    write("failing.py", text)
    sys.modules.pop("failing", None)
    with pytest.raises(UserError, match=rf"{setting}=failing:f: a call of this function failed") as caught:
        load(setting, "failing:f", ["failing"])(1)
    assert caught.match(said)


@pytest.mark.parametrize("error", ["MemoryError()", "UserError('in words')"])
def test_a_lack_of_memory_and_a_message_of_the_plugin_pass_as_they_are(write, error):
    write("passing.py", f"from latentpath.errors import UserError\ndef f(): raise {error}\n")
    sys.modules.pop("passing", None)
    with pytest.raises((MemoryError, UserError)) as caught:
        load("classifier.arch", "passing:f", ["passing"])()
    assert str(caught.value) in ("", "in words")


@pytest.mark.parametrize(
    "given, said",
    [
        (None, "the method 'f' gave None, expected a list of 3 prompts"),
        (itertools.repeat("x"), "the method 'f' gave more than 3 prompts"),
        (["x"], "the method 'f' gave 1 prompts, expected one for each of 3 steps"),
        ([1, 1, 1], "the method 'f' gave 1, expected a text"),
    ],
)
def test_a_method_that_gives_no_prompts_is_named(given, said):
    captions = CaptionTemplate("{cls} with {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair"})
    prompts = Prompts(captions, "MEL", ("hair",), negative_prompt="", guidance_scale=2.0)
    with pytest.raises(UserError, match=said):
        Own("f", lambda *_, **__: given)(prompts, range(1, 3), 3)


def test_a_module_or_a_function_that_is_not_there_is_named(write):
    write("mine.py", "def build(): ...\nbuilt = 3\n")
    with pytest.raises(UserError, match=r"mine\.py has no function 'biuld'\. Did you mean 'build'\?"):
        load("classifier.arch", "mine:biuld", ["mine"])
    with pytest.raises(UserError, match=r"mine\.py has no function 'built'"):
        load("classifier.arch", "mine:built", ["mine"])
    with pytest.raises(UserError, match=r"Python finds no module 'nowhere'\. Install it"):
        load("classifier.arch", "nowhere:build", ["nowhere"])


def test_the_fingerprint_is_that_of_the_files_in_use(write):
    used = {"classifier.arch": "lab.nets:build", "dataset.layout": "isic2019", "metric.measures": []}
    write("lab/__init__.py", "")
    nets = write("lab/nets.py", "def build(): return 7")
    first = fingerprints(used, ["other", "lab"])
    assert list(first) == ["plugins.lab"] == list(fingerprints(used, ["lab"]))
    nets.write_text("def build(): return 8")
    assert fingerprints(used, ["lab"]) != first
    assert fingerprints({"classifier.arch": "resnet50.a1_in1k"}, ["lab"]) == {}
