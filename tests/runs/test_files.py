"""Files are written whole or not at all, and every failure of the disk or of a file is one sentence."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentpath.errors import UserError
from latentpath.runs.arrays import new_array
from latentpath.runs.files import (
    create_whole,
    read_csv,
    read_json,
    read_parquet,
    read_yaml,
    replacing,
    write_json,
    write_parquet,
    write_text,
)

FAILURES = [
    (errno.ENOSPC, "No space left on device. Make room"),
    (errno.EDQUOT, "Make room"),
    (errno.EROFS, "Read-only file system. Give another place, to which you may write"),
    (errno.EACCES, "Give another place, to which you may write"),
    (errno.ENAMETOOLONG, "File name too long. Choose shorter names."),
]


def failing(number: int):
    def fail(*_: object, **__: object):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number, sentence", FAILURES)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failing_disk_is_one_sentence_and_leaves_what_was_there(
    tmp_path, monkeypatch, number, sentence, function
):
    file = tmp_path / "it.txt"
    write_text(file, "before")
    target = (os, "fsync") if function == "fsync" else (Path, "replace")
    monkeypatch.setattr(*target, failing(number))
    with pytest.raises(UserError) as caught:
        write_text(file, "after")
    assert str(caught.value).startswith(f"{file} cannot be written: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (file.read_text(), list(tmp_path.iterdir())) == ("before", [file])


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "pipeline"
    for content in ("first", "second"):
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(content)
    with pytest.raises(ZeroDivisionError), replacing(folder) as temporary:
        temporary.mkdir()
        raise ZeroDivisionError
    assert (folder / "file").read_text() == "second"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_told_by_a_library_is_known(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), replacing(tmp_path / "it"):
        raise RuntimeError('I/O error: Os { code: 28 } "No space left on device (os error 28)"')


def test_a_name_as_long_as_the_disk_takes_can_be_written(tmp_path):
    write_text(tmp_path / ("x" * 255), "it")
    with pytest.raises(UserError, match=r"File name too long\. Choose shorter names\."):
        write_text(tmp_path / ("x" * 256), "it")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, None])
def test_of_several_processes_one_creates_a_file_also_without_hard_links(tmp_path, monkeypatch, number):
    if number is not None:
        monkeypatch.setattr(os, "link", failing(number))
    assert create_whole(tmp_path / "it", b"first")
    assert not create_whole(tmp_path / "it", b"second")
    assert ((tmp_path / "it").read_bytes(), len(list(tmp_path.iterdir()))) == (b"first", 1)


READERS = {"json": read_json, "yaml": read_yaml, "parquet": read_parquet, "csv": read_csv}
PICKLE = pickle.dumps({"a": range(3)})


@pytest.mark.parametrize("ending, read", READERS.items(), ids=READERS.keys())
@pytest.mark.parametrize("damage", ["missing", "a folder", "a pickle"])
def test_a_damaged_file_is_named_with_the_stage_to_run_again(tmp_path, ending, read, damage):
    stage = tmp_path / "evaluate"
    file = stage / "parts" / f"it.{ending}"
    file.parent.mkdir(parents=True)
    write_json(stage / "manifest.json", {})
    if damage == "a folder":
        file.mkdir()
    elif damage == "a pickle":
        file.write_bytes(PICKLE)
    with pytest.raises(UserError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file} is ")
    assert f"Delete {stage} and run `latentpath evaluate` again" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_table_is_named(tmp_path, share):
    file = tmp_path / "it.parquet"
    write_parquet(file, pd.DataFrame({"a": range(100)}))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"it\.parquet is damaged"):
        read_parquet(file)


@pytest.mark.parametrize(
    "content, why", [("[]", "expected a JSON object"), ("{}", "it has no 'a'"), ("", "Expec")]
)
def test_json_of_another_kind_is_named(tmp_path, content, why):
    (tmp_path / "it.json").write_text(content)
    with pytest.raises(UserError, match=why):
        read_json(tmp_path / "it.json", keys=("a",))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve bytes of a file")
def test_an_array_that_does_not_fit_on_the_disk_is_refused_before_it_is_filled(tmp_path, monkeypatch):
    def full(descriptor: int, start: int, length: int) -> None:
        assert (start, length) == (0, 128 + 4 * 3 * 8)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    new_array(tmp_path / "it.npy", "f8", (4, 3))[:] = 1
    assert np.load(tmp_path / "it.npy").sum() == 12
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"it\.npy cannot be written: No space left on device\. Make room"):
        new_array(tmp_path / "it.npy", "f8", (4, 3))


def test_a_file_where_a_folder_is_needed_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .*A file lies where a folder is needed"):
        write_text(tmp_path / "file" / "it.txt", "it")


def test_content_of_another_kind_is_damage(tmp_path):
    folder = tmp_path / "evaluate"
    write_json(folder / "manifest.json", {})
    write_json(folder / "it.json", {"classes": None})
    write_parquet(folder / "it.parquet", pd.DataFrame({"a": [1]}))
    (folder / "it.csv").write_text("a\n1\n")
    for read, said in (
        (lambda: read_json(folder / "it.json", keys={"classes": list}), "its 'classes' is None"),
        (lambda: read_json(folder / "it.json", keys=("heads",)), "it has no 'heads'"),
        (lambda: read_parquet(folder / "it.parquet", needs=("a", "b")), "it has no column 'b'"),
        (lambda: read_csv(folder / "it.csv", needs=("a", "b")), "it has no column 'b'"),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert said in str(caught.value)
        assert f"Delete {folder} and run `latentpath evaluate` again" in str(caught.value)


def test_a_missing_file_gives_no_advice_to_delete_it(tmp_path):
    with pytest.raises(UserError, match=r"is missing\. Run `latentpath evaluate` for this run first\."):
        read_yaml(tmp_path / "evaluate" / "config.yaml")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_a_table_is_read_without_other_threads_which_a_limit_on_memory_may_refuse(tmp_path):
    write_parquet(tmp_path / "it.parquet", pd.DataFrame({"seed": range(1000), "name": "x"}))
    program = """
import os, sys
from pathlib import Path
import pandas, pyarrow.parquet
from latentpath.runs.files import read_parquet
threads = len(os.listdir("/proc/self/task"))
assert len(read_parquet(Path(sys.argv[1]))) == 1000
print(len(os.listdir("/proc/self/task")) - threads)
"""
    line = [sys.executable, "-c", program, tmp_path / "it.parquet"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip() == "0"
