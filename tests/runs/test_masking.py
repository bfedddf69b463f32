"""Paths keep their last name, secrets nothing, other text stays."""

import pytest

from latentpath.runs.masking import mask_config, mask_text, paths_in


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("put it at /home/ann/weights/alex.pth.", "put it at …/alex.pth."),
        ("see ~/data/isic", "see …/isic"),
        (r"see C:\Users\ann\isic", "see …/isic"),
        ("from s3://bucket/ann/isic", "from …/isic"),
        ("file=/a/b/patient7.png", "file=…"),
        ("with/without AP/PA, train/val, 1/2", "with/without AP/PA, train/val, 1/2"),
        (
            "a dermoscopic image with {cls} showing {attributes}",
            "a dermoscopic image with {cls} showing {attributes}",
        ),
    ],
)
def test_mask_text_cuts_paths_to_their_last_part(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_mask_config_hides_paths_and_secrets() -> None:
    config = {
        "dataset": {"root": "../cohorts/ward 7/isic", "table": {"file": "labels.csv", "path_column": "path"}},
        "model": {"name": "org/model"},
        "extra": ["/mnt/a b/c", 3, None],
        "api_key": "abc",
    }
    assert mask_config(config) == {
        "dataset": {"root": "…/isic", "table": {"file": "labels.csv", "path_column": "path"}},
        "model": {"name": "org/model"},
        "extra": ["…/c", 3, None],
        "api_key": "***",
    }


def test_known_paths_may_hold_spaces() -> None:
    secret = paths_in([{"root": "/mnt/ward 7/isic/", "n": 3, "list": ["/", "x"]}])
    assert secret == ["/mnt/ward 7/isic"]
    assert mask_text("nothing in /mnt/ward 7/isic", secret) == "nothing in …/isic"
