"""A byte that changes in a finished stage is noticed when the file is read, whatever its format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from latentpath.errors import UserError
from latentpath.runs.arrays import read_array, save_array
from latentpath.runs.digests import digest_of, digests_below, sealed
from latentpath.runs.files import (
    read_csv,
    read_image,
    read_json,
    read_parquet,
    read_yaml,
    write_csv,
    write_image,
    write_json,
    write_parquet,
    write_text,
)

TABLE = pd.DataFrame({"value": [10, 20, 30]})
READERS = {
    "it.json": read_json,
    "it.yaml": read_yaml,
    "it.csv": read_csv,
    "deep/it.parquet": read_parquet,
    "it.png": read_image,
    "it.npy": read_array,
}


@pytest.fixture
def stage(tmp_path) -> Path:
    """A finished stage with a file of each format."""
    folder = tmp_path / "evaluate"
    write_json(folder / "it.json", {"value": 10})
    write_text(folder / "it.yaml", "value: 10\n")
    write_csv(folder / "it.csv", TABLE)
    write_parquet(folder / "deep" / "it.parquet", TABLE)
    write_image(folder / "it.png", Image.new("RGB", (4, 4)))
    save_array(folder / "it.npy", TABLE["value"].to_numpy())
    write_text(folder / ".it.json.host.1.abcdef", "temporary")
    write_text(folder / "wandb" / "it.json", "a tracker's")
    record = {
        "status": "complete",
        "files": digests_below(folder),
        "figures": {"accuracy": 0.5, "by": {1: 2}},
    }
    write_json(folder / "manifest.json", sealed(record))
    return folder


def test_the_files_that_others_read_have_a_digest(stage):
    assert set(read_json(stage / "manifest.json")["files"]) == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_change_of_any_byte_is_found(stage, name):
    file, read = stage / name, READERS[name]
    read(file)
    content = file.read_bytes()
    for place in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=f"^{file} is damaged .* Delete {stage} and run"):
            read(file)
    file.write_bytes(content)
    read(file)


def test_a_change_of_any_value_of_a_manifest_is_found(stage):
    file = stage / "manifest.json"
    text = file.read_text()
    file.write_text(text.replace('"accuracy": 0.5', '"accuracy": 0.6'))
    with pytest.raises(UserError, match=f"^{file} is damaged "):
        read_json(file)
    file.write_text(json.dumps(json.loads(text)))  # the same values, written in another way
    assert read_json(file)["figures"]["accuracy"] == 0.5


def test_without_digests_a_file_is_read_as_it_is(stage):
    """Artefacts of version 0.1.0 have none."""
    write_json(stage / "manifest.json", {"status": "complete"})
    (stage / "it.json").write_text('{"value": 11}')
    assert read_json(stage / "it.json") == {"value": 11}


def test_a_file_is_hashed_once_for_each_state_of_it(stage, monkeypatch):
    first = digest_of(stage / "it.csv")
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
        assert digest_of(stage / "it.csv") == first
    os.utime(stage / "it.csv", (0, 0))
    assert digest_of(stage / "it.csv") == first
