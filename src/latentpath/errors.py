"""The one exception for mistakes that the user can mend, and the near match that its messages offer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; shown as one message without traceback."""


def near(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the nearest of `choices`, else their list."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Choose from: {', '.join(choices)}."
