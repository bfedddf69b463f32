"""Each promise of docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hostile.counts import with_counts

ROOT = Path(__file__).parents[2]


def test_every_promise_has_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "promises.md").read_text(), re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 18))
    for _, promise, tests in rows:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", tests)
        assert named, promise
        for file, function in named:
            assert f"def {function}(" in (ROOT / file).read_text(), f"{promise}: {file}::{function}"


def test_each_seed_has_its_column_of_counts():
    runs = [
        {"seed": seed, "command": f"make SEED={seed}", "passed": True, "inputs": {"names": seed * 1000}}
        for seed in (1, 2)
    ]
    runs[1]["inputs"] |= {"kills of report": 5}
    page = with_counts("before <!-- counts -->old<!-- end of counts --> after", runs)
    assert page.startswith("before ") and page.endswith(" after") and "old" not in page
    assert "make SEED=1\nmake SEED=2" in page
    rows = [
        "seed 1 | seed 2 |",
        "| names | 1,000 | 2,000 |",
        "| kills of report | 0 | 5 |",
        "| all | 1,000 | 2,005 |",
    ]
    assert [row for row in rows if row not in page] == []
    with pytest.raises(ValueError, match="seed 2 did not pass"):
        with_counts(page, [runs[0], runs[1] | {"passed": False}])
