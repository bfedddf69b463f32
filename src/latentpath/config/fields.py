"""Fields of the schema that say which values they take: numbers between bounds, and names from a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import TypeVar, get_args, get_origin, get_type_hints

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
    types = get_type_hints(schema)
    for a_field in fields(schema):
        key, kind, rule = f"{prefix}{a_field.name}", types[a_field.name], rule_of(a_field)
        if (part := section_of(schema, a_field.name)) is not None:
            if (chosen := getattr(section, a_field.name)) is not None:
                check_fields(part, chosen, f"{key}.")
        elif rule or get_origin(_without_null(kind)) is list:
            for item in _entries(getattr(section, a_field.name), kind):
                if isinstance(item, Iterable) and not isinstance(item, str):
                    raise UserError(
                        f"{key} is {getattr(section, a_field.name)}, expected {in_words(kind, a_field, key)}."
                    )
                if rule:
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


def _entries(value: object, kind: object) -> Iterator[object]:
    """Yield the single values in a setting of the type `kind`, such as list[list[int]], without nulls."""
    kind = _without_null(kind)
    if isinstance(value, Mapping) and get_origin(kind) is dict:
        value, kind = list(value.values()), list[get_args(kind)[1]]
    if isinstance(value, Iterable) and get_origin(kind) is list:
        for item in value:
            yield from _entries(item, get_args(kind)[0])
    elif value is not None:
        yield value


def in_words(kind: object, a_field: Field[object], key: str) -> str:
    """Say which values a setting takes: `a whole number from 1 to 100`, `a list, key=[...], each entry ...`.

    kind: the type of `a_field` of the schema; key: its full name, for examples.
    """
    rule, plain = rule_of(a_field), _without_null(kind)
    null = ", or null" if plain is not kind else ""
    if get_origin(plain) is dict:
        return (
            f"names with values, +{key}.name=...; each value is {in_words(get_args(plain)[1], a_field, '')}"
        )
    if get_origin(plain) is list:
        entry, brackets = get_args(plain)[0], "[...]"
        if get_origin(entry) is list:
            entry, brackets = get_args(entry)[0], "[[...]]"
        shown = f", {key}={brackets}" if key else f" {brackets}"
        lists = "a list of lists" if brackets == "[[...]]" else "a list"
        return f"{lists}{shown}{null}; each entry is {in_words(entry, a_field, '')}"
    if isinstance(plain, type) and issubclass(plain, Enum):
        return f"one of {', '.join(plain.__members__)}{null}"
    if isinstance(rule, Bounds):
        return (str(rule).replace("a number", "a whole number") if plain is not float else str(rule)) + null
    if isinstance(rule, Choices):
        return f"one of {', '.join(rule.names)}{', or my_module:function' if rule.functions else ''}{null}"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(plain, "a text") + null


def _without_null(kind: object) -> object:
    """Return the type without None: `int | None` becomes int."""
    rest = [part for part in get_args(kind) if part is not NoneType]
    return rest[0] if NoneType in get_args(kind) and len(rest) == 1 else kind


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
