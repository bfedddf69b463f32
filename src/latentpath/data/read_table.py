"""Reads a CSV or parquet file, as Excel and pandas save it, into a DataFrame with plain column names."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import unicodedata
import zlib
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from latentpath.errors import UserError
from latentpath.runs.files import parquet_table

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
SEPARATORS = ",;\t|"
# First bytes of files that users often give instead of a table.
NOT_TABLES = {
    b"PK\x03\x04": "an Excel workbook or a zip archive. Save it as 'CSV UTF-8' (in Excel: File, Save As)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook. Save it as 'CSV UTF-8' (in Excel: File, Save As)",
    b"PAR1": "a parquet file under another name. Rename it to end in .parquet",
}

log = logging.getLogger(__name__)


def read_table(file: Path) -> pd.DataFrame:
    """Read the rows of `file`, indexed by line number (the header is line 1), or for parquet by row from 1.

    A CSV file may be compressed, may begin with Excel's line `sep=`, and may be separated by comma,
    semicolon, tab or `|`; all its values are text or missing. Parquet keeps its types. Column names are
    stripped of outer spaces and converted to Unicode's composed form. If two names are then equal, the later
    one gets a newline and its position appended; no real name contains a newline. Raises UserError if the
    file is not a table.
    """
    try:
        rows = _read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read as a table: {error.strerror or error}.") from error
    except (ValueError, csv.Error, EOFError, zlib.error, ArrowException) as error:
        reason = str(error).strip()
        if "EOF inside string" in reason:
            reason = 'a quotation mark (") opens a value and none closes it'
        raise UserError(f"{file} cannot be read as a table: {reason}.") from error
    names: list[str] = []
    for name in rows.columns:
        plain = plain_name(str(name))
        names.append(f"{plain}\n{len(names) + 1}" if plain in names else plain)
    rows.columns = names
    if rows.empty:
        raise UserError(f"{file} holds no rows")
    return rows


def plain_name(name: str) -> str:
    """Strip outer spaces from a column name and compose its accents (é becomes one character)."""
    return unicodedata.normalize("NFC", name).strip()


def _read_parquet(file: Path) -> pd.DataFrame:
    rows = parquet_table(file).reset_index(drop=True)
    rows.index += 1
    return rows


def _read_csv(file: Path) -> pd.DataFrame:
    text = decoded(file).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ValueError("it is empty")
    first, _, rest = text.partition("\n")
    skipped = 0
    if first.strip().strip('"').lower().startswith("sep="):  # Excel's own line
        separator, text, skipped = first.strip().strip('"')[4:5] or "\t", rest, 1
    else:
        separator = _separator(first)
    names = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    # Blank lines are read and dropped afterwards, so that the index stays the line number in the file.
    rows = pd.read_csv(io.StringIO(text), sep=separator, dtype="str", skip_blank_lines=False)
    if not isinstance(rows.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its header")
    rows.index += 2 + skipped
    rows.columns = names
    return rows.dropna(how="all")


def decoded(file: Path) -> str:
    """Return the text of a table. Raises ValueError, in words, for a file of another kind or encoding."""
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    for start, what in NOT_TABLES.items():
        if content.startswith(start):
            raise ValueError(f"it is {what}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError("it begins as UTF-16 and is damaged; save or copy it again") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise ValueError("its letters are neither UTF-8 nor Windows' own; save it as 'CSV UTF-8'") from None
    log.warning(
        "%s is not in UTF-8: its letters were read as Windows-1252, as Excel in Western Europe saves them. "
        "Where names look wrong, save it as 'CSV UTF-8'",
        file,
    )
    return text


def _separator(header: str) -> str:
    """Return the most frequent of `SEPARATORS` outside of quotes."""
    outside = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=outside.count)
