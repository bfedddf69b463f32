"""Each promise of docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_has_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "promises.md").read_text(), re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 18))
    for _, promise, tests in rows:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", tests)
        assert named, promise
        for file, function in named:
            assert f"def {function}(" in (ROOT / file).read_text(), f"{promise}: {file}::{function}"
