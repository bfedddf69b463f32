"""Reads and writes all files of a run: writes are atomic, and every error names the file."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentpath.config.written import Json
from latentpath.errors import UserError
from latentpath.runs.digests import check_digest, check_seal
from latentpath.runs.temporary import remove, temporary_beside

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

_ROOM = "Make room and run the same command again; what was finished before stays."
_PLACE = "Give another place, to which you may write; output_dir=... is that of all runs."
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.ENAMETOOLONG: "Choose shorter names.",
    errno.ENOENT: _PLACE,
    errno.ENOTDIR: "A file lies where a folder is needed: move it away, or choose another folder.",
    errno.EEXIST: "A file lies where a folder is needed: move it away, or choose another folder.",
    errno.EISDIR: "A folder lies in its place: move it away.",
}
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure of the disk in this block into a UserError that names `path` and says what to do.

    Failures of C++ and Rust libraries are no OSError; they are recognised by "os error 28" in their message.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _os_error(str(error))
        if number is None or (number not in REMEDIES and not isinstance(error, OSError)):
            raise
        remedy = REMEDIES.get(number, "Look after the disk, and run the same command again.")
        raise UserError(f"{path} cannot be written: {os.strerror(number)}. {remedy}") from None


def _os_error(message: str) -> int | None:
    found = re.search(r"os error (\d+)|\[Errno (\d+)\]", message)
    return int(found[1] or found[2]) if found else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, which replaces `path` at the end of the block.

    A reader sees either the old or the new content. Missing parent folders are created. If the block fails,
    the temporary path is removed. Raises UserError if the disk is full.
    """
    temporary = temporary_beside(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_dir():
                remove(path)
            temporary.replace(path)
    finally:
        remove(temporary)


def make_folder(path: Path) -> Path:
    """Make the folder and its parents. Raises UserError if that fails."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically and sync it to the disk (see `replacing`)."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def create_whole(path: Path, content: bytes) -> bool:
    """Write `content` to `path` unless the file exists; return whether this process wrote it.

    If several processes try at once, exactly one succeeds.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            temporary.write_bytes(content)
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:  # a disk without hard links, such as exFAT, SMB or a mounted bucket
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    write_whole(path, text.encode())


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON. Raises ValueError for numbers that are not finite."""
    write_text(path, json_text(content))


def json_text(content: object) -> str:
    """Return `content` as indented JSON. Raises ValueError for numbers that are not finite."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def records_of(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of `table` for JSON, with None in place of NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")  # pyright: ignore[reportReturnType]


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as parquet, without its index."""
    content = BytesIO()
    table.to_parquet(content, index=False)
    write_whole(path, content.getvalue())


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index; numbers have six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_image(path: Path, image: Image.Image) -> None:
    """Write `image` in the format of the suffix of `path`."""
    content = BytesIO()
    image.save(content, format=path.suffix.removeprefix(".").replace("jpg", "jpeg"))
    write_whole(path, content.getvalue())


@contextmanager
def reading(path: Path, *, remedy: str = "") -> Iterator[None]:
    """Turn any failure to read a file of a run into a UserError that says which stage to run again.

    A file of a finished stage is first compared with its digest in the manifest. `remedy` replaces the advice
    to delete the whole stage.
    """
    try:
        check_digest(path)
        yield
    except UserError:
        raise
    except Exception as error:  # from json, yaml, pyarrow, pandas, numpy or safetensors
        stage = _stage_of(path)
        again = f"Delete {stage} and run `latentpath {stage.name}` again with the same overrides."
        if not path.exists():
            what = "is missing"
            if not (stage / "manifest.json").exists():  # there is nothing to delete
                again = f"Run `latentpath {stage.name}` for this run first."
        elif path.is_dir():
            what = "is a folder, expected a file"
        else:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            what = f"is damaged ({reason[:200]})"
        raise UserError(f"{path} {what}. {remedy or again}") from None


def check_whole(path: Path) -> None:
    """Raise UserError if a file of a finished stage is not as it was written, before a library reads it."""
    with reading(path):
        pass


def _stage_of(path: Path) -> Path:
    """Return the folder of the stage that `path` belongs to."""
    return next((folder for folder in path.parents if (folder / "manifest.json").exists()), path.parent)


def read_json(path: Path, keys: Collection[str] | Mapping[str, type] = (), *, remedy: str = "") -> Json:
    """Read a JSON file that holds an object, and require that the object has `keys`, of these types if given.

    Raises UserError, naming the file, if it is missing, damaged, or holds something else; see `reading`.
    """
    with reading(path, remedy=remedy):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object" + (f" with {', '.join(keys)}" if keys else ""))
        if missing := [key for key in keys if key not in content]:
            raise ValueError(f"it has no {missing[0]!r}")
        types = keys if isinstance(keys, Mapping) else {}
        if wrong := [key for key, kind in types.items() if not isinstance(content[key], kind)]:
            raise ValueError(f"its {wrong[0]!r} is {str(content[wrong[0]])[:60]}")
        check_seal(content)
        return content


def read_yaml(path: Path) -> Json:
    """Read a YAML file that holds names and values. Raises UserError if it is missing or damaged."""
    import yaml

    with reading(path):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected names and values, found {type(content).__name__}")
        return content


def read_parquet(
    path: Path, *, needs: Collection[str] = (), columns: list[str] | None = None
) -> pd.DataFrame:
    """Read a table from a parquet file. needs: columns that it must have.

    Raises UserError, naming the file, if it is missing or damaged or lacks a column.
    """
    with reading(path):
        table = parquet_table(path, columns)
        _check_columns(table, needs)
        return table


def parquet_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table from a parquet file in this thread; errors are those of pyarrow.

    pandas.read_parquet lets other threads read, and waits for ever if the system cannot start one, as under a
    limit on memory.
    """
    import pyarrow.parquet as pq

    if path.is_dir():  # a table in many files; latentpath writes none
        raise IsADirectoryError
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read(columns=columns, use_threads=False).to_pandas(use_threads=False)


def read_csv(
    path: Path,
    *,
    needs: Collection[str] = (),
    remedy: str = "",
    **options: Any,  # Any: of pandas
) -> pd.DataFrame:
    """Read a table from a CSV file. needs: columns that it must have; remedy: see `reading`.

    Raises UserError, naming the file, if it is missing or damaged or lacks a column.
    """
    import pandas as pd

    with reading(path, remedy=remedy):
        table = pd.read_csv(path, **options)
        _check_columns(table, needs)
        return table


def _check_columns(table: pd.DataFrame, needs: Collection[str]) -> None:
    if missing := [column for column in needs if column not in table]:
        raise ValueError(f"it has no column {missing[0]!r}")


def read_image(path: Path) -> Image.Image:
    """Read an image of a run as RGB. Raises UserError that names the file if it is damaged."""
    from PIL import Image

    with reading(path), Image.open(path) as image:
        return image.convert("RGB")
