"""Every file that a run writes or reads back: written whole or not at all, and named in every failure."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from socket import gethostname
from typing import TYPE_CHECKING, Any

from latentpath.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

_ROOM = "Make room and run the same command again; what was finished before stays."
_PLACE = "Give a folder that you may write to, such as output_dir=..."
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

    Failures of C++ and Rust libraries, which are no OSError, are known by "os error 28" in their message.
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
    """Write a file or a folder to the temporary path that this yields; in the end it replaces `path`.

    A reader sees the old content or the new, never half of one. Missing folders above `path` are made. When
    the block fails, nothing is left of the temporary path. Raises UserError when the disk is full.
    """
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_dir():
                remove(path)
            temporary.replace(path)
    finally:
        remove(temporary)


def _temporary_name(name: str) -> str:
    """Hidden, unique to this process, and not longer than a file's name may be."""
    return f".{name[-40:]}.{gethostname()[:40]}.{os.getpid()}.{token_hex(3)}"


def is_abandoned(temporary: Path) -> bool:
    """Has the process that wrote this temporary file ended? One of another machine may still be at work.

    A file of this process's number is of an earlier process of that number, for who asks is not writing.
    """
    before, _, process = temporary.name.rpartition(".")[0].rpartition(".")
    if not before.endswith(f".{gethostname()[:40]}") or not process.isdigit():  # a host's name may have dots
        return False
    return int(process) == os.getpid() or not is_alive(int(process))


def is_alive(process: int) -> bool:
    """Does a process of this number run on this machine?"""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a symbolic link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make the folder and those above it. Raises UserError where that cannot be."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, synced to the disk, whole or not at all (see `replacing`)."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def create_whole(path: Path, content: bytes) -> bool:
    """Write `content` to `path` unless there is such a file; of several processes one succeeds."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(_temporary_name(path.name))
        try:
            temporary.write_bytes(content)
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:  # a disk without hard links, such as exFAT, SMB, or a mounted bucket
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


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON. Raises ValueError for numbers that are not finite."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Indented JSON. Raises ValueError for numbers that are not finite."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as parquet, without its index."""
    content = BytesIO()
    table.to_parquet(content, index=False)
    write_whole(path, content.getvalue())


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, numbers to six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_image(path: Path, image: Image.Image, **options: Any) -> None:
    """Write `image` in the format that the ending of `path` names; `options` are those of Pillow."""
    content = BytesIO()
    image.save(content, format=path.suffix.removeprefix(".").replace("jpg", "jpeg"), **options)
    write_whole(path, content.getvalue())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any failure to read a file of a run into a UserError that says which stage to run again."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of json, yaml, pyarrow, pandas, numpy and safetensors
        stage = _stage_of(path)
        if not path.exists():
            what = "is missing"
        elif path.is_dir():
            what = "is a folder, expected a file"
        else:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            what = f"is damaged ({reason[:200]})"
        raise UserError(
            f"{path} {what}. Delete {stage} and run `latentpath {stage.name}` again with the same overrides."
        ) from None


def _stage_of(path: Path) -> Path:
    """The folder of the stage that `path` belongs to."""
    return next((folder for folder in path.parents if (folder / "manifest.json").exists()), path.parent)


def read_json(path: Path, keys: tuple[str, ...] = ()) -> Any:
    """The content of a JSON file; with `keys`, an object that has them.

    Raises UserError that names the file when it is missing or damaged.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if keys and not isinstance(content, dict):
            raise ValueError(f"expected an object with {', '.join(keys)}")
        if missing := [key for key in keys if key not in content]:
            raise ValueError(f"it has no {missing[0]!r}")
        return content


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises UserError that names the file when it is missing or damaged."""
    import yaml

    with reading(path):
        return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """The table of a parquet file. Raises UserError that names the file when it is missing or damaged."""
    import pandas as pd

    with reading(path):
        if path.is_dir():  # which pandas takes for a table in many files
            raise IsADirectoryError
        return pd.read_parquet(path, **options)


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """The table of a CSV file. Raises UserError that names the file when it is missing or damaged."""
    import pandas as pd

    with reading(path):
        return pd.read_csv(path, **options)
