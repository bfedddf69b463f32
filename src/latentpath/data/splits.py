"""Train, val and test by a hash of the group: no patient or lesion in two splits, and no image ever moves."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from latentpath.errors import UserError


def hash_unit(names: Sequence[str], *, salt: str) -> np.ndarray:
    """A number in [0, 1) per name, (n,) float64: a function of name and salt alone, on every machine."""
    prefix = f"{salt}\0".encode()
    digests = b"".join(blake2b(prefix + name.encode(), digest_size=8).digest() for name in names)
    return (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)).astype(
        np.float64
    ) / 2**53  # as many bits as a double


def assign_splits(groups: pd.Series, *, val_fraction: float, test_fraction: float, salt: str) -> np.ndarray:
    """'train', 'val' or 'test' per row, (n,) str.

    A group's split depends on its name, the salt and the fractions, never on which other groups there are:
    new images move none. The fractions are of groups, in expectation. A new val_fraction leaves test alone.
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
