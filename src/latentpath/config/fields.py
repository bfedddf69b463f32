"""Fields of the schema that say which values they take: numbers between bounds, and names from a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import TypeVar, get_args, get_type_hints

from latentpath.config.plugins import is_reference
from latentpath.errors import UserError, near

T = TypeVar("T")


@dataclass(frozen=True)
class Bounds:
    """The interval that a number lies in. `low` and `high` belong to it, `above` and `below` do not."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    zero: str = ""  # what 0 means, such as "off"
    word: str = ""  # a word that may stand in place of the number, such as "auto"

    def check(self, key: str, value: object) -> None:
        """Raise UserError unless `value` is a finite number in the interval, or the word."""
        if self.word and value == self.word:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not self._holds(value):
            raise UserError(f"{key} is {value!r}, expected {self}.")

    def _holds(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        first = f"from {_written(self.low)}" if self.low is not None else f"above {_written(self.above)}"
        zero = f" ({self.zero})" if self.zero and self.low == 0 else ""
        last = f"to {_written(self.high)}" if self.high is not None else f"to below {_written(self.below)}"
        return f"a number {first}{zero} {last}" + (f", or {self.word}" if self.word else "")


@dataclass(frozen=True)
class Choices:
    """The names that a field takes."""

    names: Sequence[str]
    functions: bool = False  # also a plugin's function, `my_module:function`

    def check(self, key: str, value: object) -> None:
        """Raise UserError with the nearest name unless `value` is one of the names."""
        if value not in self.names and not (self.functions and is_reference(str(value))):
            raise UserError(f"{key} is {value!r}.{near(str(value), self.names)}")


def number(
    default: T,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    zero: str = "",
    word: str = "",
) -> T:
    """Make a field for a number, or lists or mappings of numbers, between bounds (`Bounds`), or null."""
    return _field(default, Bounds(low, above, high, below, zero, word))


def choice(default: T, names: Sequence[str], *, functions: bool = False) -> T:
    """Make a field for one of `names`, or a list of them (see `Choices`); null needs a type that has it."""
    return _field(default, Choices(names, functions))


def _field(default: T, rule: Bounds | Choices) -> T:
    metadata = {"rule": rule}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def rule_of(a_field: Field[object]) -> Bounds | Choices | None:
    """Return the bounds or the choices of a field of the schema, or None if it has neither."""
    return a_field.metadata.get("rule")


def check_fields(schema: type, section: object, prefix: str = "") -> None:
    """Raise UserError for the first value of `section` that breaks the rule of its field in `schema`."""
    for a_field in fields(schema):
        key = f"{prefix}{a_field.name}"
        if (kind := section_of(schema, a_field.name)) is not None:
            if (chosen := getattr(section, a_field.name)) is not None:
                check_fields(kind, chosen, f"{key}.")
        elif rule := rule_of(a_field):
            for item in _scalars(getattr(section, a_field.name)):
                rule.check(key, item)


def settings(schema: type, prefix: str = "") -> Iterator[tuple[str, object, Field[object]]]:
    """Yield the key, the type and the field of every setting of `schema` and of its sections."""
    types = get_type_hints(schema)
    for a_field in fields(schema):
        if (section := section_of(schema, a_field.name)) is not None:
            yield from settings(section, f"{prefix}{a_field.name}.")
        else:
            yield f"{prefix}{a_field.name}", types[a_field.name], a_field


def section_of(schema: type, name: str) -> type | None:
    """Return the dataclass that the field `name` of `schema` holds, or None if it is no section."""
    kind = get_type_hints(schema)[name]
    return next((k for k in (kind, *get_args(kind)) if isinstance(k, type) and is_dataclass(k)), None)


def _scalars(value: object) -> Iterator[object]:
    """Yield the single values in lists and mappings of any depth, or the value itself, without nulls."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Iterable) and not isinstance(value, str):
        for item in value:
            yield from _scalars(item)
    elif value is not None:
        yield value


def _written(number: float | None) -> str:
    """Return a bound as a person writes it: 1,000, 0.5, 2^32."""
    if number is None:
        return "any"
    if number == int(number):
        power = int(number).bit_length() - (int(number) & (int(number) - 1) == 0)
        if number >= 2**31 and number in (2**power, 2**power - 1):
            return f"2^{power}" + (" - 1" if number != 2**power else "")
        return f"{int(number):,}"
    return f"{number:g}"
