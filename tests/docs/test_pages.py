"""The code and the commands on the pages: all of it runs, or is composed and checked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import blocks
import build
import pytest

from latentpath.commands import COMMANDS
from latentpath.config.checks import check
from latentpath.config.overrides import check_overrides

PAGES = build.pages()
RUN = [name for name, text in PAGES.items() if "<!-- run -->\n```" in text and name != "CONTRIBUTING.md"]


@pytest.mark.parametrize("name", RUN)
def test_the_code_of_a_page_runs(name, work, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(work, folder)  # a page may write
    page = blocks.run_page(PAGES[name], name=name, folder=folder, pictures=tmp_path / "pictures")
    assert "<!-- run -->" not in page and 'class="output"' in page
    shown = re.findall(r"!\[[^]]*\]\((pictures/[^)]+)\)", page)
    assert {file.name for file in (tmp_path / "pictures").glob("*")} == {Path(file).name for file in shown}


def test_the_pages_that_promise_pictures_have_them():
    assert {"docs/tutorials/adding_a_method.md", "docs/tutorials/reading_a_run.md"} <= set(RUN)


def commands() -> list[tuple[str, list[str]]]:
    """The (page, words) of every `latentpath` command in the code blocks of all pages that are not run."""
    found = []
    for name, text in PAGES.items():
        for marked, language, code in re.findall(
            r"^(<!-- run -->\n)?```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
        ):
            for line in [] if marked or language == "python" else code.replace("\\\n", " ").splitlines():
                match = re.search(r"\blatentpath ([a-z]+ .*)", line.split("  #")[0])
                if match and not re.search(r"\.\.\.|<|\$", match[1]):
                    words = shlex.split(re.split(r"\s[>|]\s", match[1])[0], comments=True)
                    found.append((name, words))
    return found


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    """The module of docs/extending.md, where Python finds it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["docs/extending.md"], re.DOTALL)[:1]
    (tmp_path / "my_module.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: os.path.basename(str(value))[:40])
def test_a_command_of_a_page_is_taken(page, words, compose, my_module):
    command, *options = words
    assert command in COMMANDS
    if not COMMANDS[command].takes_config:
        return
    overrides = [word for word in options if "=" in word and not word.startswith(("-", "hydra"))]
    if {"-m", "--multirun"} & set(options):  # the first job of the sweep
        overrides = [word if "[" in word else re.sub(r"=([^,]+),.*", r"=\1", word) for word in overrides]
        overrides = [word for word in overrides if "tag(" not in word and "interval(" not in word]
    check_overrides(overrides)
    check(compose(command, *overrides), reads_images=lambda _: False)


def test_most_commands_of_the_pages_are_found():
    found = commands()
    assert len(found) > 25 and {"README.md", "docs/cluster.md", "docs/data.md"} <= {page for page, _ in found}


def test_a_block_that_fails_is_named(tmp_path):
    page = "<!-- run -->\n```python\nx = 1\n```\n\n<!-- run -->\n```python\nx / 0\n```\n"
    with pytest.raises(ZeroDivisionError) as failed:
        blocks.run_page(page, name="docs/page.md", folder=tmp_path)
    assert failed.value.__notes__ == ["in block 2 of docs/page.md"]
    with pytest.raises(RuntimeError, match="exit status 3: said"):
        blocks.run_page("<!-- run -->\n```bash\necho said; exit 3\n```\n", name="page", folder=tmp_path)


def test_what_a_block_prints_and_gives_follows_it(tmp_path):
    page = "<!-- run -->\n```python\nprint('<b>')\n[1, 2]\n```\n\n```python\nnot run\n```\n"
    built = blocks.run_page(page, name="page", folder=tmp_path)
    assert '<pre class="output">&lt;b&gt;</pre>' in built and '<pre class="output">[1, 2]</pre>' in built
    assert "not run" in built


def test_a_table_follows_as_a_table():
    import pandas as pd

    assert "<td>0.123</td>" in blocks.show(pd.DataFrame({"a": [0.123456]}), "table.png", None)


def test_cells_become_a_page():
    cells = '# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\n# %% language="bash"\n# ls\n'
    expected = "# Title\n\nText.\n\n<!-- run -->\n```python\nx = 1\n```\n\n<!-- run -->\n```bash\nls\n```\n"
    assert blocks.page_of_cells(cells) == expected
