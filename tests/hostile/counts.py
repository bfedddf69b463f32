"""Copies the counts of the last `make test-hostile`, outputs/hostile.json, into docs/promises.md."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- counts -->", "<!-- end of counts -->"


def with_counts(page: str, counts: dict) -> str:
    """The page with the counts between its two marks."""
    before, _, rest = page.partition(BEGIN)
    lines = [f"| {kind} | {count:,} |" for kind, count in counts["inputs"].items()]
    table = "\n".join(["| inputs | tried |", "|---|---:|", *lines, f"| all | {counts['total']:,} |"])
    return f"{before}{BEGIN}\nSeed {counts['seed']}:\n\n{table}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    file = ROOT / "docs" / "promises.md"
    counts = json.loads((ROOT / "outputs" / "hostile.json").read_text())
    file.write_text(with_counts(file.read_text(), counts))
