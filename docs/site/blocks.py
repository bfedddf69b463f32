"""Runs the marked code blocks of a page, so that no page shows what does not work, and adds their output.

    <!-- run -->
    ```python
    1 + 1
    ```

The marked blocks of a page run in order in one folder; those in Python share their names, those in bash
are scripts. What a block prints, and the value of a last expression, follow it on the built page: tables as
tables, pictures as pictures. A file of cells (`# %%`, `# %% [markdown]`, `# %% language="bash"`, the percent
format of Jupytext) is a page whose code cells are all marked.
"""

from __future__ import annotations

import ast
import contextlib
import html
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

MARKED = re.compile(r"<!-- run -->\n```(python|bash)\n(.*?)```\n", re.DOTALL)
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    "COLUMNS": "100",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "OMP_NUM_THREADS": "1",  # the networks of the pages are too small for more
}


def page_of_cells(text: str) -> str:
    """Return a page of Markdown from a file of cells in the percent format."""
    page, comment = [], re.compile(r"^# ?", re.MULTILINE)
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            page.append(comment.sub("", body.strip()))
        elif 'language="bash"' in kind:
            page.append(f"<!-- run -->\n```bash\n{comment.sub('', body.strip())}\n```")
        else:
            page.append(f"<!-- run -->\n```python\n{body.strip()}\n```")
    return "\n\n".join(page) + "\n"


def run_page(text: str, *, name: str, folder: Path, pictures: Path | None = None) -> str:
    """Run the marked blocks of a page in `folder`; return the page with the output of each below it.

    Pictures are saved into `pictures`, beside the page. An exception of a block leaves with the number of the
    block in its note.
    """
    names: dict[str, Any] = {"__name__": name}
    count = 0

    def run(block: re.Match[str]) -> str:
        nonlocal count
        count += 1
        try:
            if block[1] == "bash":
                output = run_script(block[2])
            else:
                output = run_block(block[2], names, place=f"{name}, block {count}")
        except Exception as error:
            error.add_note(f"in block {count} of {name}")
            raise
        shown = [show(part, f"{Path(name).stem}-{count}-{k}.png", pictures) for k, part in enumerate(output)]
        return f"```{block[1]}\n{block[2]}```\n" + "".join(shown)

    with contextlib.chdir(folder):
        return MARKED.sub(run, text)


def run_block(code: str, names: dict[str, Any], *, place: str) -> list[Any]:
    """Run a block; return what it printed, if anything, and the value of a last expression, if any."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, place, "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), place, "eval"), names)
    return [printed.getvalue()] * bool(printed.getvalue()) + [value] * (value is not None)


def run_script(code: str) -> list[Any]:
    """Run a script of bash; return what it printed. An exit status other than 0 raises with its messages."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [done.stdout] if done.stdout.strip() else []


def show(value: Any, file: str, pictures: Path | None) -> str:
    """Return the Markdown that shows a value below its block."""
    if hasattr(value, "to_html"):  # a pandas table
        return f'\n<div class="output">{value.to_html(border=0, float_format="{:.3g}".format)}</div>\n'
    if pictures is not None and (hasattr(value, "savefig") or hasattr(value, "resize")):  # matplotlib, Pillow
        pictures.mkdir(parents=True, exist_ok=True)
        (value.savefig if hasattr(value, "savefig") else value.save)(pictures / file)
        return f"\n![what the block above shows]({os.path.join('pictures', file)})\n"
    text = value if isinstance(value, str) else repr(value)
    return f'\n<pre class="output">{html.escape(text.rstrip())}</pre>\n'
