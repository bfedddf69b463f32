"""Writes the reference pages from the code: settings from the schema, modules from their docstrings."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from latentpath.config import schema
from latentpath.config.fields import Bounds, Choices, rule_of, section_of


@dataclass(frozen=True)
class Setting:
    """One key of the configuration, as the reference shows it."""

    key: str
    type: str
    default: str
    values: str
    meaning: str


def settings(kind: type = schema.Config, prefix: str = "") -> Iterator[Setting]:
    """Yield every key of a dataclass of the schema: its own in order, then those of its sections."""
    hints, meanings = get_type_hints(kind), {}
    for parent in filter(is_dataclass, reversed(kind.__mro__)):  # whose fields it has too
        meanings |= comments(parent)
    found = {field.name: section_of(kind, field.name) for field in fields(kind)}
    sections = {name: section for name, section in found.items() if section is not None}
    for field in fields(kind):
        if field.name not in sections:
            yield Setting(
                prefix + field.name,
                type_name(hints[field.name]),
                default_of(field),
                values_of(field, hints[field.name]),
                meanings.get(field.name, ""),
            )
    for name, section in sections.items():
        yield from settings(section, f"{prefix}{name}.")


def comments(kind: type) -> dict[str, str]:
    """Return the comment of each field of a dataclass: the lines above it and the one that ends its line."""
    source = Path(inspect.getfile(kind)).read_text(encoding="utf-8")
    notes = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (cls,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)
    found = {}
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno:
            first = node.lineno
            while first - 1 in notes and notes[first - 1][1]:
                first -= 1
            lines = [notes[line][0] for line in range(first, node.end_lineno + 1) if line in notes]
            found[node.target.id] = " ".join(dict.fromkeys(lines))
    return found


def type_name(hint: Any) -> str:
    """Return a type as a reader of YAML says it: list of numbers, text or null."""
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}
    if hint in plain:
        return plain[hint]
    if isinstance(hint, UnionType):
        return " or ".join(type_name(part) for part in get_args(hint))
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        return f"list of {'lists of ' * (get_origin(item) is list)}{_plural(item)}"
    if get_origin(hint) is dict:
        _, item = get_args(hint)
        return f"mapping to {type_name(item)}" if get_origin(item) else "mapping of texts"
    return "name"


def _plural(item: Any) -> str:
    while get_origin(item) is list:
        (item,) = get_args(item)
    return {str: "texts", int: "integers", float: "numbers"}[item]


def default_of(field: Field[Any]) -> str:
    """Return the default as YAML writes it; `???` marks a value that the user must give."""
    value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f'"{value}"' if value == "" else f"{value}".replace("'", "")


def values_of(field: Field[Any], hint: Any) -> str:
    """Return the values that a field takes beyond its type: an interval, or names."""
    rule = rule_of(field)
    if isinstance(rule, Bounds):
        return str(rule).removeprefix("a number ")
    if isinstance(rule, Choices):
        names = ", ".join(f"`{name}`" for name in rule.names)
        return names + (" or `my_module:function`" if rule.functions else "")
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and issubclass(part, Enum):
            return ", ".join(f"`{each.value}`" for each in part)
    return ""


def configuration_page() -> str:
    """Return the page of all settings, a table per section, with the presets of the section's group."""
    lines = [
        "# Configuration",
        "",
        "Every setting with its type, its default and the values that it takes, from the schema.",
        "A preset (`sampler=gpu`) replaces the defaults of its group. With `--cfg job` a command prints",
        "what it would use.",
        "",
    ]
    section = None
    for setting in settings():
        group = setting.key.rpartition(".")[0]
        if group != section:
            section = group
            lines += ["", f"## {group or 'Top level'}", "", *presets(group), *_HEAD]
        cells = (f"`{setting.key}`", setting.type, f"`{setting.default}`", setting.values, setting.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_HEAD = ("| setting | type | default | values | meaning |", "|---|---|---|---|---|")


def presets(group: str) -> list[str]:
    """Return a line for each preset of a config group: its name and the comment at the top of its file."""
    files = sorted((schema.conf_dir() / group).glob("*.yaml")) if group and "." not in group else []
    lines = []
    for file in files:
        text = file.read_text(encoding="utf-8").splitlines()
        top = [
            line.lstrip("# ") for line in text[: next(i for i, t in enumerate(text) if not t.startswith("#"))]
        ]
        about = " ".join(line for line in top if not line.startswith("@"))
        lines.append(f"- `{group}={file.stem}`" + (f": {about}" if about else ""))
    return [*lines, ""] if lines else []


def figures_page() -> str:
    """Return the page of all figures, from the one place that describes them."""
    from latentpath.metrics.figures import FIGURES

    lines = [
        "# Figures",
        "",
        "The figures of `evaluate/figures.parquet`, by their key. [What the figures mean](../figures.md)",
        "explains them.",
        "",
        "| key | label | better | range | definition |",
        "|---|---|---|---|---|",
    ]
    for figure in FIGURES.values():
        low, high = (f"{end:g}".replace("inf", "∞") for end in figure.range)
        definition = figure.definition.replace("|", "\\|")
        lines.append(
            f"| `{figure.key}` | {figure.label} | {figure.better} | {low} to {high} | {definition} |"
        )
    return "\n".join(lines) + "\n"


def artefacts_page(run_dir: Path, meanings: dict[str, Any]) -> str:
    """Return the page of the tables that a run writes; their columns are read from the run in `run_dir`.

    Raises ValueError for a column of the run without a meaning, and for a meaning of no column.
    """
    import pandas as pd

    lines = [
        "# Artefacts",
        "",
        "The tables under `outputs/<name>/`, with their columns as a run wrote them.",
        "[Commands and artefacts](../commands.md) says what else is there.",
    ]
    for name, entry in meanings["files"].items():
        read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
        table, own = read(run_dir / name), entry["columns"]
        named = {column: meaning_of(column, own | meanings["common"]) for column in table.columns}
        if strange := [column for column, (pattern, _) in named.items() if not pattern]:
            raise ValueError(f"{name}: no meaning in artefacts.yml for {strange}")
        if gone := [pattern for pattern in own if pattern not in {p for p, _ in named.values()}]:
            raise ValueError(f"{name}: artefacts.yml explains columns that are not there: {gone}")
        kinds: dict[str, tuple[str, str]] = {}
        for column, (pattern, meaning) in named.items():
            kinds.setdefault(pattern, (str(table[column].dtype).replace("str", "text").lower(), meaning))
        lines += ["", f"## {name}", "", entry["about"], "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{pattern}` | {kind} | {meaning} |" for pattern, (kind, meaning) in kinds.items()]
    return "\n".join(lines) + "\n"


_END = {"low": "lower", "high": "upper"}


def meaning_of(column: str, meanings: dict[str, str]) -> tuple[str, str]:
    """Return the (name or pattern, meaning) of a column, or two empty texts; figures go by their key."""
    from latentpath.metrics.figures import FIGURES

    if column in meanings:
        return column, meanings[column]
    if column in FIGURES:
        return column, f"the figure: {FIGURES[column].label}"
    if (end := re.fullmatch(r"(\w+)_(low|high)", column)) and end[1] in FIGURES:
        return (
            f"{{figure}}_{end[2]}",
            f"{_END[end[2]]} end of the interval of a figure",
        )
    for pattern, meaning in meanings.items():
        if "{" in pattern and re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(pattern)), column):
            return pattern, meaning
    return "", ""


def modules() -> dict[str, list[str]]:
    """Return the modules of each room that have something public, room by room."""
    source = Path(schema.__file__).parents[1]
    rooms: dict[str, list[str]] = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        if len(parts) > 1 and parts[-1] != "__init__":
            rooms.setdefault(parts[0], []).append(".".join(("latentpath", *parts)))
    return rooms


def api_pages() -> dict[str, str]:
    """Return a page per room, which mkdocstrings fills from the docstrings, and one of the front door."""
    import latentpath

    pages = {"index": _FRONT + "\n".join(f"::: latentpath.{home}\n" for home in latentpath._HOME.values())}
    for room, names in modules().items():
        pages[room] = f"# {room}\n\n" + "\n".join(f"::: {name}\n" for name in names)
    return pages


_FRONT = """# Front door

The names of `import latentpath as lp`, each under its home. The [README](../../../README.md#in-python) shows
them at work.

"""
