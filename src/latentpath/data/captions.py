"""The caption template, which makes all training captions, neutral prompts and target prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentpath.config.schema import CaptionsConfig
from latentpath.config.templates import check_captions
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
        check_captions(self.with_attributes, self.without_attributes, list(self.class_names))

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
