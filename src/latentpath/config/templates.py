"""Checks the templates of captions: which fields in braces they may have, and which they need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from string import Formatter

from latentpath.errors import UserError


def check_template(key: str, template: str, fields: Collection[str]) -> set[str]:
    """Return the fields in braces of `template`. Raises UserError unless they are among `fields`, and plain.

    A conversion or a format, as in `{cls!r:>99}`, is refused: a caption has no use for it.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UserError(
            f"{key}: {template!r} is not a valid template: {error}. A brace itself is written twice, {{{{."
        ) from None
    known = ", ".join(f"{{{field}}}" for field in sorted(fields))
    for _, field, layout, conversion in parts:
        if field not in fields:
            raise UserError(f"{key}: no field {{{field}}} in {template!r}; there are: {known}.")
        if layout or conversion:
            raise UserError(
                f"{key}: {template!r} has a format or a conversion in braces, expected plain {known}."
            )
    return {str(field) for _, field, _, _ in parts}


def check_captions(with_attributes: str, without_attributes: str, classes: Sequence[str]) -> None:
    """Raise UserError unless the captions name the attributes, and tell the classes apart."""
    key = "dataset.captions"
    found = check_template(f"{key}.with_attributes", with_attributes, ("cls", "attributes"))
    if "attributes" not in found:
        raise UserError(
            f"{key}.with_attributes is {with_attributes!r}, and has no {{attributes}}: the caption would not "
            "name them."
        )
    neutral = check_template(f"{key}.without_attributes", without_attributes, ("cls",))
    if len(classes) > 1 and not ("cls" in found and "cls" in neutral):
        raise UserError(
            f"{key}: with_attributes is {with_attributes!r} and without_attributes {without_attributes!r}; "
            f"both need {{cls}} to tell {', '.join(classes)} apart."
        )
