"""Splits groups into train, val and test by a hash: no group is in two splits, and new data move no image."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from latentpath.data.records import ImageTable
from latentpath.errors import UserError


def hash_unit(names: Sequence[str], *, salt: str) -> np.ndarray:
    """Return a number in [0, 1) per name, (n,) float64, that depends on the name and the salt only."""
    prefix = f"{salt}\0".encode()
    digests = b"".join(blake2b(prefix + name.encode(), digest_size=8).digest() for name in names)
    return (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)).astype(
        np.float64
    ) / 2**53  # as many bits as a double


def assign_splits(groups: pd.Series, *, val_fraction: float, test_fraction: float, salt: str) -> np.ndarray:
    """Assign 'train', 'val' or 'test' to each row by its group; (n,) str.

    The split of a group depends on its name, the salt and the fractions only, so new images move no others.
    The fractions are expected shares of groups. Changing val_fraction does not change the test split. Raises
    UserError for invalid fractions.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise UserError(
            f"dataset.val_fraction {val_fraction} and dataset.test_fraction {test_fraction}: "
            "each must be at least 0 and both together below 1"
        )
    codes, names = pd.factorize(groups)
    units = hash_unit(list(names), salt=salt)
    splits = np.select(
        [units < test_fraction, units < test_fraction + val_fraction], ["test", "val"], "train"
    )
    return splits[codes]


def assert_disjoint(table: ImageTable) -> None:
    """Raise UserError if a group (patient, lesion) or a file is in two splits, or if an image has no group.

    `assign_splits` never causes this, but a table from another source can. Every figure on held-out images
    would then be too good.
    """
    rows = table.rows
    if rows["group"].isna().any():
        image = rows.loc[rows["group"].isna(), "image_id"].iloc[0]
        raise UserError(
            f"image {image} has no group (patient or lesion), so no split can be kept apart from it"
        )
    for column, what in (("group", "group (patient or lesion)"), ("path", "file")):
        names = rows.groupby(column, sort=False)["split"].unique()
        torn = names[names.map(len) > 1]
        if len(torn):
            splits = " and ".join(torn.iloc[0])
            more = f", and {len(torn) - 1:,} others are in several" if len(torn) > 1 else ""
            raise UserError(
                f"the {what} {torn.index[0]} is in {splits} at once{more}. What is judged on held-out images "
                "would have been seen in training: give all images of a group one split"
            )


def copies_across_splits(digests: Sequence[str], splits: Sequence[str]) -> int:
    """Count images whose exact file content is also in another split; "" in `digests` means unknown."""
    rows = pd.DataFrame({"digest": list(digests), "split": list(splits)})
    rows = rows[rows["digest"] != ""]
    return int((rows.groupby("digest")["split"].transform("nunique") > 1).sum())
