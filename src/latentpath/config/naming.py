"""Adds configuration keys to the errors of functions that know only their arguments.

Functions below the commands mark an argument by backticks, "`eta` is 0.5"; `with_keys` turns it into the key
that a user of the command line sets, "sampler.eta is 0.5".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from latentpath.config.fields import settings
from latentpath.config.schema import Config
from latentpath.errors import UserError


@contextmanager
def with_keys(sections: Sequence[str]) -> Iterator[None]:
    """In a UserError, replace each argument in backticks by its configuration key.

    sections: those that the command reads. If several keys end with the argument's name, such as finetune.lr
    and classifier.lr, the one in these sections is meant, and the first one of several.
    """
    try:
        yield
    except UserError as error:
        raise UserError(keyed(str(error), sections)) from error.__cause__


def keyed(text: str, sections: Sequence[str] = ()) -> str:
    """Replace each argument in backticks, such as lr or lr=0, by its configuration key: finetune.lr=0.

    Names without a key stay as they are. sections: see `with_keys`.
    """

    def key_of(found: re.Match[str]) -> str:
        keys = keys_by_name().get(found[1], [])
        near = [key for key in keys if any(f"{key}.".startswith(f"{section}.") for section in sections)]
        return (near or keys)[0] + found[2] if keys else found[0]

    return re.sub(r"`(\w+)((?:=[^`]*)?)`", key_of, text)


@cache
def keys_by_name() -> dict[str, list[str]]:
    """Map the last name of each key of the schema to all keys that end with it."""
    found: dict[str, list[str]] = {}
    for key, _, field in settings(Config):
        found.setdefault(field.name, []).append(key)
    return found
