"""The exception for mistakes that the user can fix, and the near matches that its messages suggest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix; it is shown as one message without a traceback."""


def near(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` with the closest of `choices`, or the list of choices if none is close."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Choose from: {', '.join(choices)}."
