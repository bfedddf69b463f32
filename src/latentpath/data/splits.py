"""Splits groups into train, val and test: no group is in two splits; by a hash, new data move no image."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from latentpath.data.records import ImageTable
from latentpath.errors import UserError

RARE = 10  # images with a label that a split should hold at least: with fewer, figures of it say little


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
    The fractions are expected shares of groups; their sum is below 1. Changing val_fraction does not change
    the test split.
    """
    codes, names = pd.factorize(groups)
    units = hash_unit(list(names), salt=salt)
    splits = np.select(
        [units < test_fraction, units < test_fraction + val_fraction], ["test", "val"], "train"
    )
    return splits[codes]


def stratified_splits(
    groups: pd.Series, labels: pd.DataFrame, *, val_fraction: float, test_fraction: float, salt: str
) -> np.ndarray:
    """Assign 'train', 'val' or 'test' to each row by its group; each split has its share of each label.

    labels: one row per image, a column per label (class or attribute), 1 where the image has it; NaN counts
    as 0. The label of the fewest images that are left comes first: its groups go, in the order of their hash,
    to the split that lacks most images of this label. Unlike those of `assign_splits`, the splits depend on
    all images: new ones may move others.
    Source: Sechidis, Tsoumakas and Vlahavas 2011, iterative stratification, with groups instead of images.
    """
    codes, names = pd.factorize(groups)
    every = labels.fillna(0).to_numpy(np.float64)
    counts = np.column_stack([every == 1, np.ones(len(every))]).astype(np.float64)  # the last: of images
    held = np.zeros((len(names), counts.shape[1]))
    np.add.at(held, codes, counts)  # (groups, labels)
    order = np.argsort(hash_unit(list(names), salt=salt), kind="stable")
    shares = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
    lacking = np.outer(shares, held.sum(axis=0))  # (splits, labels)
    assigned = np.full(len(names), -1)
    left = held.sum(axis=0)
    while (assigned < 0).any():
        some = np.flatnonzero(left[:-1] > 0)
        label = some[left[some].argmin()] if len(some) else len(left) - 1
        for group in order[(assigned[order] < 0) & (held[order, label] > 0)]:
            wanted = np.where(shares > 0, lacking[:, label], -np.inf)
            best = np.flatnonzero(wanted == wanted.max())
            assigned[group] = best[lacking[best, -1].argmax()]
            lacking[assigned[group]] -= held[group]
            left -= held[group]
    return np.array(["train", "val", "test"])[assigned][codes]


def reserve_for_judge(groups: pd.Series, splits: np.ndarray, *, fraction: float, salt: str) -> np.ndarray:
    """Turn a `fraction` of the training groups into the split 'judge', by the hash of their names; (n,) str.

    The fine-tune trains on 'train' alone, the judge on 'judge' alone: then it judges images of a model that
    has never seen its training images, and no error that both learned from the same image is taken for a
    success.
    """
    codes, names = pd.factorize(groups)
    chosen = hash_unit(list(names), salt=f"{salt}/judge")[codes] < fraction
    return np.where(chosen & (splits == "train"), "judge", splits)


def rare_labels(rows: pd.DataFrame, attributes: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Describe each class and attribute of which one of the `splits` has fewer than RARE images."""
    found = []
    for split in splits:
        part = rows[rows["split"] == split]
        counts = {str(cls): int((part["cls"] == cls).sum()) for cls in rows["cls"].unique()}
        counts |= {attribute: int((part[attribute] == 1).sum()) for attribute in attributes}
        found += [f"{name} ({count} in {split})" for name, count in counts.items() if count < RARE]
    return found


def assert_disjoint(table: ImageTable) -> None:
    """Raise UserError if a group (patient, lesion) or a file is in two splits, or if an image has no group.

    `assign_splits` never causes this, but a table from another source can. Every figure on held-out images
    would then be too good.
    """
    rows = table.rows
    if rows["group"].isna().any():
        image = rows.loc[rows["group"].isna(), "image_id"].iloc[0]
        raise UserError(
            f"image {image} has no group (patient or lesion), which keeps a patient's images in one split: "
            "give it one, such as its own id"
        )
    for column, what in (("group", "group (patient or lesion)"), ("path", "file")):
        names = rows.groupby(column, sort=False)["split"].unique()
        torn = names[names.map(len) > 1]
        if len(torn):
            splits = " and ".join(torn.iloc[0])
            more = f", and {len(torn) - 1:,} others are in several" if len(torn) > 1 else ""
            raise UserError(
                f"the {what} {torn.index[0]} is in {splits} at once{more}, so held-out images would have "
                "been seen in training: put all images of a group into one split"
            )


def copies_across_splits(digests: Sequence[str], splits: Sequence[str]) -> int:
    """Count images whose exact file content is also in another split; "" in `digests` means unknown."""
    rows = pd.DataFrame({"digest": list(digests), "split": list(splits)})
    rows = rows[rows["digest"] != ""]
    return int((rows.groupby("digest")["split"].transform("nunique") > 1).sum())
