"""The rooms of the package: a room imports only rooms on lower floors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import latentpath

SOURCE = Path(latentpath.__file__).parent

# From the ground up. A room imports rooms of lower floors only, never one of its own floor or above.
FLOORS = (
    {"errors", "keys"},
    {"config"},
    {"runs"},
    {"data", "metrics"},
    {"diffusion", "judge", "report"},
    {"traversal"},
    {"training", "evaluation", "explore"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports_of(file: Path) -> set[str]:
    """The rooms that a file imports, wherever in it the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        rooms |= {name.split(".")[1] for name in modules if name.startswith("latentpath.")}
    return rooms


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(file for file in SOURCE.rglob("*.py") if file.parent != SOURCE or file.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_imports_go_down(file):
    room = room_of(file)
    assert room in FLOOR, f"{file} is in no room of this test"
    upwards = {other for other in imports_of(file) - {room} if FLOOR[other] >= FLOOR[room]}
    assert not upwards, f"{room} stands on floor {FLOOR[room]} and imports {sorted(upwards)}"


def test_a_file_is_one_thing():
    long = {str(f.relative_to(SOURCE)): n for f in FILES if (n := len(f.read_text().splitlines())) > 300}
    assert not long, "files of more than 300 lines hold more than one thing"
