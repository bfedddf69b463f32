"""Photographs a run's page and its explorer in chromium, for the pages of the site that show them.

    python docs/site/screenshots.py outputs/demo docs    # after `make demo`: the copies in the repository

The build of the site makes its own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from latentpath.explore.opening import open_run
from latentpath.explore.server import build_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, NARROW = {"width": 1000, "height": 860}, {"width": 390, "height": 860}
PATIENCE = 120_000  # ms to wait for an edit: a busy machine is slow, and a broken page is found by the tests


def find_browser() -> str | None:
    """Return the path of chromium on this machine, or None."""
    return os.environ.get("LATENTPATH_BROWSER") or next(filter(None, map(shutil.which, PLACES)), None)


def photograph(run_dir: Path, folder: Path, *, browser: str) -> list[Path]:
    """Write report.png, report_dark.png, explore.png and explore_dark.png into `folder`, and return them.

    The dark ones are as wide as a phone.
    """
    from playwright.sync_api import sync_playwright

    files = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for suffix, scheme, size in (("", "light", WIDE), ("_dark", "dark", NARROW)):
            with _page(chromium, scheme, size) as page:
                page.goto((run_dir.absolute() / "report" / "index.html").as_uri())
                page.screenshot(path=(file := folder / f"report{suffix}.png"))
                files.append(file)
            with _page(chromium, scheme, size) as page, _served(run_dir) as (url, steps):
                page.goto(url)
                _edit_by_keyboard(page, steps)
                page.screenshot(path=(file := folder / f"explore{suffix}.png"))
                files.append(file)
        chromium.close()
    return files


def _edit_by_keyboard(page: Page, steps: int) -> None:
    """Choose ink, move the slider to its right end, and wait until the page shows that edit."""
    from playwright.sync_api import expect

    status = page.locator("#status")
    expect(status).to_have_text(f"{2 * steps} U-Net rows", timeout=PATIENCE)  # of the trunk
    page.select_option("#attribute", "ink")
    expect(status).to_have_text("0 U-Net rows", timeout=PATIENCE)
    page.focus("#step")
    page.keyboard.press("End")
    expect(status).to_have_text(f"{2 * steps} U-Net rows", timeout=PATIENCE)


@contextmanager
def _page(browser: Browser, scheme: str, size: dict[str, int]) -> Iterator[Page]:
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def _served(run_dir: Path) -> Iterator[tuple[str, int]]:
    """Serve the explorer of a run: its address, and the number of steps of its sweep."""
    explorer = open_run(run_dir)
    with build_server(explorer, run_dir.name) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", explorer.steps
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    chromium = find_browser()
    if chromium is None:
        raise SystemExit("no chromium on this machine; LATENTPATH_BROWSER may name one")
    print(*photograph(Path(sys.argv[1]), Path(sys.argv[2]), browser=chromium))
