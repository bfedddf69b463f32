"""Functions below the commands name arguments in their errors, and the command adds the configuration key."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import latentpath
from latentpath.commands import CLASSIFY, FINETUNE, function_of
from latentpath.config.naming import keyed, keys_by_name
from latentpath.config.plugins import SETTINGS
from latentpath.config.schema import Config
from latentpath.errors import UserError

ROOMS = ("diffusion", "evaluation", "judge", "metrics", "report", "training", "traversal")
SECTIONS = "attribute|classifier|dataset|finetune|inversion|metric|model|sampler|timesteps|trainer"


def test_an_argument_becomes_its_key():
    assert keyed("`eta` is 0.5") == "sampler.eta is 0.5"
    assert keyed("try `precision=32-true`.") == "try trainer.precision=32-true."
    assert keyed("run `latentpath classify`, or `nothing`") == "run `latentpath classify`, or `nothing`"


@pytest.mark.parametrize("command, key", [(CLASSIFY, "classifier.lr"), (FINETUNE, "finetune.lr")])
def test_of_two_keys_the_one_of_the_command_is_named(monkeypatch, tmp_path, command, key):
    def run(cfg: Config, run_dir: Path) -> float | None:
        raise UserError("a smaller `lr`")

    monkeypatch.setitem(sys.modules, f"latentpath.commands.{command.name}", SimpleNamespace(run=run))
    with pytest.raises(UserError, match=f"a smaller {key}"):
        function_of(command)(Config(), tmp_path)


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string of a module that is no docstring."""
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
            yield node


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_below_the_commands_names_a_key(room):
    names = keys_by_name()
    key = re.compile(rf"\b(?:{SECTIONS})\.(?:{'|'.join(names)})\b")
    for file in sorted((Path(latentpath.__file__).parent / room).rglob("*.py")):
        for node in texts(ast.parse(file.read_text())):
            text = str(node.value)
            if text not in SETTINGS and "latentpath fetch" not in text:
                assert not key.search(text), f"{file}:{node.lineno}: {text}"


@pytest.mark.parametrize("room", ROOMS)
def test_each_argument_that_an_error_marks_has_a_key(room):
    for file in sorted((Path(latentpath.__file__).parent / room).rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "UserError":
                said = " ".join(str(n.value) for n in ast.walk(call) if isinstance(n, ast.Constant))
                for name in re.findall(r"`([a-z][a-z_]*)(?:`|=)", said):
                    assert name in keys_by_name(), f"{file}:{call.lineno}: `{name}` is no key's last name"
