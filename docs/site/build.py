"""Builds the documentation site into build/site: runs code, writes the reference, renders strictly.

    python docs/site/build.py            # or `make docs`
    python docs/site/build.py --no-run   # in seconds: runs no code, so the reference of artefacts is empty

The site has the folders of the repository, so a link works on the site as it does in the repository.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import blocks
import reference
import screenshots
import sdxl
import trees
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

STATIC = (".md", ".png", ".svg", ".csv", ".txt", ".css")
# A run of all stages in a minute. Its figures mean nothing, its files and columns are those of any run.
TINY = (
    "experiment=demo",
    "dataset.phantom.count=120",
    "dataset.phantom.size=64",
    "dataset.image_size=64",
    "finetune.max_steps=20",
    "finetune.batch_size=8",
    "classifier.epochs=3",
    "classifier.batch_size=16",
    "sampler.seeds=3",
    "timesteps.num_inference_steps=6",
    "timesteps.swap_steps=[0,2,4]",
    "metric.frames=4",
    "metric.resamples=200",
    "metric.examples=2",
)


def pages() -> dict[str, str]:
    """Return the Markdown of every page that somebody wrote, by its place in the repository."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")]
    found = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sorted(files)}
    for file in sorted(ROOT.glob("docs/tutorials/*.py")):
        name = file.relative_to(ROOT).with_suffix(".md").as_posix()
        found[name] = blocks.page_of_cells(file.read_text(encoding="utf-8"))
    return found


def tiny_run(folder: Path) -> None:
    """Run all stages as run `demo` under folder/outputs, on phantoms of 64 px."""
    command = [sys.executable, "-m", "latentpath", "run", *TINY, f"dataset.root={folder / 'phantoms'}"]
    subprocess.run(
        command, cwd=folder, env=os.environ | blocks.ENVIRONMENT, check=True, stdout=subprocess.DEVNULL
    )


def prepare(folder: Path) -> None:
    """Write into `folder` all that the code of the pages reads."""
    tiny_run(folder)
    trees.draw(folder)
    sdxl.write_configuration(folder / "sdxl-config")


def stage(out: Path, *, work: Path | None) -> None:
    """Write all pages and pictures into `out`; `work` holds the tiny run, or is None to run no code."""
    for file in [*ROOT.glob("docs/**/*"), *ROOT.glob("experiments/**/*")]:
        if file.suffix in STATIC:
            copy = out / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    for name, text in pages().items():
        if work is not None:
            text = blocks.run_page(text, name=name, folder=work, pictures=(out / name).parent / "pictures")
        write(out / name, text.replace("<!-- run -->\n", ""))
    made = {"configuration": reference.configuration_page(), "figures": reference.figures_page()}
    made["artefacts"] = "# Artefacts\n\nThis build ran no code, so it has no columns to show.\n"
    if work is not None:
        meanings = yaml.safe_load((HERE / "artefacts.yml").read_text(encoding="utf-8"))
        made["artefacts"] = reference.artefacts_page(work / "outputs" / "demo", meanings)
    for name, text in (made | {f"api/{name}": text for name, text in reference.api_pages().items()}).items():
        write(out / "docs" / "reference" / f"{name}.md", text)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def settings_of_site(staged: Path, site: Path) -> dict[str, Any]:
    """Return mkdocs.yml with its folders, and with studies and modules in the navigation."""
    settings = yaml.safe_load((HERE / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = {
        "Studies": [
            f"experiments/{file.parent.name}/{file.name}"
            for folder in sorted(ROOT.glob("experiments/*/"))
            for file in sorted(folder.glob("*.md"), key=lambda file: (file.name != "README.md", file.name))
        ],
        "Python": [f"docs/reference/api/{name}.md" for name in reference.api_pages()],
    }
    if (ROOT / "experiments" / "README.md").exists():
        listed["Studies"].insert(0, "experiments/README.md")
    for part in settings["nav"]:
        for entries in part.values():
            for entry in entries:
                if isinstance(entry, dict) and (title := next(iter(entry))) in listed:
                    entry[title] = listed[title]
    (python,) = (plugin for plugin in settings["plugins"] if isinstance(plugin, dict))
    python["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    return settings | {"docs_dir": str(staged), "site_dir": str(site)}


def render(staged: Path, site: Path) -> str:
    """Let MkDocs render the staged pages and return what it says; a broken link or anchor ends the build."""
    config = staged.parent / "mkdocs.yml"
    write(config, yaml.safe_dump(settings_of_site(staged, site), sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr  # not --quiet, which would also keep --strict from seeing warnings
    if done.returncode:
        raise SystemExit(said)
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("INFO"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--no-run", action="store_true", help="run no code of the pages")
    parser.add_argument("--keep-run", action="store_true", help="use the small run of an earlier build")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for all that is built")
    options = parser.parse_args()
    staged, site, work = (options.out / name for name in ("docs", "site", "docs-run"))
    shutil.rmtree(staged, ignore_errors=True)
    if not (options.no_run or options.keep_run):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        print("running all stages on small phantoms ...", flush=True)
        prepare(work)
    print("writing the pages ...", flush=True)
    stage(staged, work=None if options.no_run else work)
    if options.no_run or (browser := screenshots.find_browser()) is None:
        print("the screenshots are those of the repository: no code is run, or there is no chromium")
    else:
        screenshots.photograph(work / "outputs" / "demo", staged / "docs", browser=browser)
    print(render(staged, site), end="")
    print(
        f"Open {site / 'index.html'} in a browser. The search needs a server: python -m http.server -d {site}"
    )


if __name__ == "__main__":
    main()
