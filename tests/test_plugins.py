"""Plugins: a run uses functions of modules that `plugins` names, and imports no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from latentpath.config.checks import check
from latentpath.config.plugins import fingerprints, load
from latentpath.errors import UserError


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
def test_what_is_no_file_is_no_plugin(module):
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
