"""`latentpath explore RUN`: edit with a run's model by hand, in a browser on this machine."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from rich.console import Console

from latentpath.commands.arguments import Arguments
from latentpath.errors import UserError, near

HELP = """Edit with the model of a run by hand, in a browser on this machine.

On the page you choose the class, attribute, method, seed, swap step and dial of an edit. It shows the image
before and after the edit, their difference, and what the judge sees. It is served on 127.0.0.1 only, and asks
nothing of any other machine.
"""


def main(args: list[str]) -> None:
    """Serve the page until the user presses Ctrl-C. Raises UserError if the run lacks what it needs."""
    parser = Arguments("explore", HELP)
    parser.add_argument("run", help="name of a run in outputs/, or its folder")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0 takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    options = parser.parse_args(args)
    run_dir = find_run(options.run)
    console = Console()
    console.print(f"loading the model of {run_dir} ...", markup=False)

    from latentpath.explore.opening import open_run  # imports torch
    from latentpath.explore.server import build_server

    with build_server(open_run(run_dir), run_dir.name, options.port) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        console.print(f"Open [bold]{url}[/] in a browser on this machine. Ctrl-C ends it.")
        if not options.no_browser:
            webbrowser.open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("ended")


def find_run(name: str) -> Path:
    """Return the folder of a run by its name in outputs/, or by its path. Raises UserError without one."""
    for folder in (Path(name), Path("outputs") / name):
        if any((folder / stage).is_dir() for stage in ("finetune", "traverse")):
            return folder.absolute()
    runs = [folder.name for folder in Path("outputs").glob("*/") if (folder / "traverse").is_dir()]
    hint = near(name, runs) if runs else " There is none yet: `make demo` makes one."
    raise UserError(f"explore: no run {name!r} in outputs/, and no such folder.{hint}")
