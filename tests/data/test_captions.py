import pytest
from omegaconf import OmegaConf

from latentpath.data.captions import CaptionTemplate, caption_template
from latentpath.errors import UserError

SKIN = CaptionTemplate(
    with_attributes="a dermoscopic image with {cls} showing {attributes}",
    without_attributes="a dermoscopic image with {cls} with no visible artifacts",
    class_names={"MEL": "melanoma (MEL)", "NV": "melanocytic nevus (NV)"},
    attribute_names={"hair": "hair", "gel_bubble": "gel bubble"},
)


def test_the_captions_of_the_paper():
    assert SKIN.caption("MEL", ["hair", "gel_bubble"]) == (
        "a dermoscopic image with melanoma (MEL) showing hair, gel bubble"
    )
    assert SKIN.caption("NV") == "a dermoscopic image with melanocytic nevus (NV) with no visible artifacts"


def test_the_order_of_the_attributes_is_the_templates():
    assert SKIN.caption("MEL", ["gel_bubble", "hair"]) == SKIN.caption("MEL", ["hair", "gel_bubble"])


@pytest.mark.parametrize(
    ("cls", "present", "words"),
    [
        ("MLE", [], "no class 'MLE'. Did you mean 'MEL'?"),
        ("MEL", ["hiar"], "no attribute 'hiar'. Did you mean 'hair'?"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(cls, present, words):
    with pytest.raises(UserError) as caught:
        SKIN.caption(cls, present)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("with_attributes", "without_attributes", "words"),
    [
        ("{cls} showing things", "{cls}", "has no {attributes}"),
        ("{cls} {attribute}", "{cls}", "no field {attribute}"),
        ("{cls} {attributes}", "{cls} {attributes}", "no field {attributes}"),
        ("{cls} {attributes", "{cls}", "is not a valid template"),
        ("{cls} {attributes}", "normal", "to tell MEL, NV apart"),
    ],
)
def test_templates_that_cannot_work_are_refused(with_attributes, without_attributes, words):
    with pytest.raises(UserError) as caught:
        CaptionTemplate(with_attributes, without_attributes, SKIN.class_names, SKIN.attribute_names)
    assert words in str(caught.value)


def test_the_configuration_gives_names_in_the_datasets_order_and_keys_are_their_own_names():
    captions = OmegaConf.create(
        {
            "with_attributes": "X-ray showing {attributes}",
            "without_attributes": "normal X-ray",
            "class_names": {},
            "attribute_names": {"ruler": "a ruler", "unused": "?"},
        }
    )
    template = caption_template(captions, ["chest"], ["support_devices", "ruler"])
    assert template.caption("chest", ["ruler", "support_devices"]) == "X-ray showing support devices, a ruler"
    assert list(template.attribute_names) == ["support_devices", "ruler"]
