"""The caption template, which makes all training captions, neutral prompts and target prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from latentpath.config.schema import CaptionsConfig
from latentpath.errors import UserError, near


@dataclass(frozen=True)
class CaptionTemplate:
    """Turns a class and the attributes that are present into a caption.

    with_attributes: template with the fields {cls} and {attributes}, used if any attribute is present.
    without_attributes: template with the field {cls}, used if none is; it makes the neutral prompt.
    class_names, attribute_names: key -> its words in the caption. A caption lists attributes in this order.
    """

    with_attributes: str
    without_attributes: str
    class_names: Mapping[str, str]
    attribute_names: Mapping[str, str]

    def __post_init__(self) -> None:
        _check_fields("with_attributes", self.with_attributes, {"cls", "attributes"})
        _check_fields("without_attributes", self.without_attributes, {"cls"})
        if "{attributes}" not in self.with_attributes:
            raise UserError("captions.with_attributes has no {attributes}: the caption would not name them")
        if len(self.class_names) > 1 and not all(
            "{cls}" in template for template in (self.with_attributes, self.without_attributes)
        ):
            raise UserError(
                f"captions: both templates need {{cls}} to tell {', '.join(self.class_names)} apart"
            )

    def caption(self, cls: str, present: Sequence[str] = ()) -> str:
        """Return the caption of an image of `cls`, with the attributes `present` in the template's order.

        Raises UserError if the class or an attribute is not in the template.
        """
        for kind, asked, names in (
            ("class", [cls], self.class_names),
            ("attribute", present, self.attribute_names),
        ):
            for name in asked:
                if name not in names:
                    raise UserError(f"the captions have no {kind} {name!r}.{near(name, names)}")
        words = ", ".join(text for key, text in self.attribute_names.items() if key in present)
        template = self.with_attributes if words else self.without_attributes
        return template.format(cls=self.class_names[cls], attributes=words)


def caption_template(
    captions: CaptionsConfig, classes: Sequence[str], attributes: Sequence[str]
) -> CaptionTemplate:
    """Build the template from the configuration `dataset.captions` for these classes and attributes.

    The words of a key without a name are the key itself, with spaces instead of underscores.
    """
    class_names = dict(captions.class_names or {})
    attribute_names = dict(captions.attribute_names or {})
    return CaptionTemplate(
        with_attributes=captions.with_attributes,
        without_attributes=captions.without_attributes,
        class_names={key: class_names.get(key, key.replace("_", " ")) for key in classes},
        attribute_names={key: attribute_names.get(key, key.replace("_", " ")) for key in attributes},
    )


def _check_fields(name: str, template: str, known: set[str]) -> None:
    try:
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise UserError(f"captions.{name}: {template!r} is not a valid template: {error}") from error
    if unknown := sorted(fields - known):
        fields_there = ", ".join(f"{{{field}}}" for field in sorted(known))
        raise UserError(
            f"captions.{name}: no field {{{unknown[0]}}} in {template!r}; there are: {fields_there}"
        )
