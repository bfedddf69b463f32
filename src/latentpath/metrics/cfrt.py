"""CFRT, the Classifier Flip Rate along a Trajectory, in the poster's and in the released code's definition.

Arrays, for S seeds of one class, A attributes, P positions on the strong end of the trajectory:

    neutral        (S, A)        f_a(x): sigmoid of head a on the neutral image x of a seed, in [0, 1]
    edited         (A, S, P, A)  edited[i, s, p, a] = f_a(x'_i): head a on the image moved toward attribute i
    neutral_class  (S,)          y(x): index of the class decision; None if there is a single class
    edited_class   (A, S, P)     y(x'_i)

NaN is a score that does not exist. An image that lacks a score which a condition needs is left out of that
condition, and the rate says so; a condition that nothing can decide is NaN with a reason, never a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from latentpath.metrics.flips import Array, flipped, hard_label


@dataclass(frozen=True)
class Rate:
    """A fraction in [0, 1] of `n` decided samples; NaN with a `reason` where none could be decided.

    per_seed: (S,) mean of each seed, NaN if undecided; seeds are independent, the positions of one are not.
    samples_per_seed: (S,) samples of each seed; `value` is the mean of per_seed with these weights.
    """

    value: float
    n: int
    reason: str = ""
    per_seed: Array = field(default_factory=lambda: np.empty(0), compare=False, repr=False)
    samples_per_seed: Array = field(default_factory=lambda: np.empty(0), compare=False, repr=False)


@dataclass(frozen=True)
class Cfrt:
    """CFRT of one attribute and each of its conditions alone, which show which condition failed.

    `cfrt` is the figure of the definition as published: 'released' = dominant; 'strict' = dominant and class
    kept and others kept. `all` adds the thresholded flip of A (and, for 'released', the two kept conditions).
    The samples of `flipped`, `class_kept`, `others_kept` are images (seed, position), the same under both
    definitions.
    """

    definition: Literal["released", "strict"]
    attribute: str
    seeds: int
    cfrt: Rate
    flipped: Rate
    flipped_eligible: Rate  # of the seeds that could flip, those without A on the neutral image
    dominant: Rate
    class_kept: Rate
    others_kept: Rate
    all: Rate
    already_present: Rate  # A on the neutral image: these seeds cannot flip


def cfrt_released(
    neutral: ArrayLike,
    edited: ArrayLike,
    attribute: int,
    *,
    neutral_class: ArrayLike | None = None,
    edited_class: ArrayLike | None = None,
    threshold: float = 0.5,
    names: Sequence[str] | None = None,
) -> Cfrt:
    """CFRT across the heads of the same image, as the paper's released code computes it.

        CFRT_A = 1/S sum_s 1[ D_A > D_j for every attribute j != A ]
        D_a = mean_p ( f_a(x_p) - f_a(x_0) ), signed

    x_p are the strong-end images toward A, x_0 the neutral image. The class is not a head, no threshold
    takes part. Arrays as in the module's docstring; `attribute` is the index of A, `names` the attributes'
    names for the reasons. Undefined (NaN) with a single attribute, with any head missing, without images
    toward A.
    Source: tehraninasab/sd-latent-traversal (evaluation code).
    """
    x = _Scores(neutral, edited, attribute, neutral_class, edited_class, threshold, names)
    shift = (x.edited[attribute] - x.neutral[:, None, :]).mean(axis=1)  # (S, A) D_a
    dominant = _exceeds_all_others(shift, attribute, axis=1)[:, None]  # (S, 1): one decision a seed
    why = x.single + x.missing_heads(x.every) + x.missing_images([attribute])
    return x.result("released", dominant, why, formula=(dominant,))


def cfrt_strict(
    neutral: ArrayLike,
    edited: ArrayLike,
    attribute: int,
    *,
    neutral_class: ArrayLike | None = None,
    edited_class: ArrayLike | None = None,
    threshold: float = 0.5,
    names: Sequence[str] | None = None,
) -> Cfrt:
    """CFRT across images, as the paper defines it.

        CFRT_A = 1/|X| sum_x 1[ |f(x) - f(x'_A)| > max_{j != A} |f(x) - f(x'_j)|
                                and y(x) = y(x'_A) and x_k = x'_A(k) for all k != A ]

    Read here as: f = head A, on every image of the first line; x'_j = the image of the same seed at the *same
    position*, synthesised toward attribute j; the sum runs over seeds and strong-end positions; y and x_k
    are hard labels as the classifier decides them, on both images. The formula holds no threshold on
    f(x'_A): see `Cfrt.all`. With one class (`neutral_class` None) the class condition cannot fail:
    `class_kept` is NaN, named, and the formula goes on without it. Undefined (NaN) with a single attribute,
    with any head missing, or when some attribute has no images, for then the maximum is not over all
    others.
    Source: poster, equation of CFRT.
    """
    x = _Scores(neutral, edited, attribute, neutral_class, edited_class, threshold, names)
    head = x.edited[..., attribute]  # (A, S, P) f_A(x'_j) for every j
    change = np.abs(head - x.neutral[None, :, None, attribute])
    dominant = _exceeds_all_others(change, attribute, axis=0)  # (S, P)
    why = x.single + x.missing_heads([attribute]) + x.missing_images(x.every)
    return x.result("strict", dominant, why, formula=(dominant, x.class_condition, x.others_kept))


class _Scores:
    """The checked arrays of one attribute, with the conditions that both definitions share."""

    def __init__(
        self,
        neutral: ArrayLike,
        edited: ArrayLike,
        attribute: int,
        neutral_class: ArrayLike | None,
        edited_class: ArrayLike | None,
        threshold: float,
        names: Sequence[str] | None,
    ) -> None:
        self.neutral = np.asarray(neutral, dtype=np.float64)  # (S, A)
        self.edited = np.asarray(edited, dtype=np.float64)  # (A, S, P, A)
        if self.neutral.ndim != 2 or self.edited.ndim != 4:
            raise ValueError(f"neutral is (S, A), not {self.neutral.shape}; edited (A, S, P, A)")
        seeds, count = self.neutral.shape
        if self.edited.shape != (count, seeds, self.edited.shape[2], count):
            raise ValueError(f"edited must be ({count}, {seeds}, P, {count}); got {self.edited.shape}")
        if (neutral_class is None) != (edited_class is None):
            raise ValueError("give neutral_class and edited_class both, or neither for a single class")
        self.a, self.every = attribute, list(range(count))
        self.names = list(names) if names is not None else [str(i) for i in self.every]
        self.single = ["only one attribute: no other to compare with"] if count == 1 else []

        toward_a, shape = self.edited[attribute], self.edited.shape[1:3]  # (S, P, A)
        self.flipped = flipped(self.neutral[:, attribute], toward_a[..., attribute], threshold)
        before, after = hard_label(self.neutral, threshold), hard_label(toward_a, threshold)
        kept = np.delete(_equal(before[:, None], after), attribute, axis=-1)  # (S, P, A-1)
        self.others_kept = kept.prod(axis=-1) if count > 1 else np.full(shape, np.nan)  # (S, P)
        self.already_present = before[:, [attribute]]
        self.eligible = np.where(self.already_present == 0, 1.0, np.nan)  # (S, 1)

        if neutral_class is None or edited_class is None:
            self.class_kept, self.class_condition = np.full(shape, np.nan), np.ones(shape)
            self.why_class, self.why_condition = ["single class: nothing to keep"], []
        else:
            y = np.asarray(neutral_class, dtype=np.float64)
            y_edited = np.asarray(edited_class, dtype=np.float64)[attribute]
            self.class_kept = self.class_condition = _equal(y[:, None], y_edited)  # (S, P)
            no_head = ["no class decision on the neutral images"] if np.isnan(y).all() else []
            self.why_class = self.why_condition = no_head + self.missing_images([attribute])

    def missing_heads(self, heads: Sequence[int]) -> list[str]:
        absent = [self.names[j] for j in heads if np.isnan(self.neutral[:, j]).all()]
        return [f"no score of head {', '.join(absent)} on the neutral images"] if absent else []

    def missing_images(self, toward: Sequence[int]) -> list[str]:
        absent = [self.names[j] for j in toward if np.isnan(self.edited[j]).all()]
        return [f"no scored images toward {', '.join(absent)}"] if absent else []

    def result(
        self,
        definition: Literal["released", "strict"],
        dominant: Array,
        why: list[str],
        *,
        formula: Sequence[Array],
    ) -> Cfrt:
        others = [j for j in self.every if j != self.a]
        why_flip = self.missing_heads([self.a]) + self.missing_images([self.a])
        why_others = self.single + self.missing_heads(others) + self.missing_images([self.a])
        why_all = why + why_flip + why_others + self.why_condition
        return Cfrt(
            definition=definition,
            attribute=self.names[self.a],
            seeds=self.neutral.shape[0],
            cfrt=_rate(formula, why if len(formula) == 1 else why + why_others + self.why_condition),
            flipped=_rate([self.flipped], why_flip),
            flipped_eligible=self._of_eligible(why_flip),
            dominant=_rate([dominant], why),
            class_kept=_rate([self.class_kept], self.why_class),
            others_kept=_rate([self.others_kept], why_others),
            all=_rate([self.flipped, dominant, self.class_condition, self.others_kept], why_all),
            already_present=_rate([self.already_present], self.missing_heads([self.a])),
        )

    def _of_eligible(self, why: Sequence[str]) -> Rate:
        """Return the flip rate of the seeds that can flip; the other seeds are excluded on purpose."""
        rate = _rate([self.flipped, self.eligible], [*why, "every neutral image already shows the attribute"])
        return replace(rate, reason=rate.reason if rate.n == 0 else "")


def _rate(indicators: Sequence[Array], reasons: Sequence[str]) -> Rate:
    """Mean of the product of 0/1/NaN indicators (S, P) or (S, 1); a NaN factor leaves the sample out."""
    product = np.ones((1, 1))
    for indicator in indicators:
        product = product * indicator
    decided = np.isfinite(product)
    n, total = int(decided.sum()), product.size
    if n == 0:
        reason = "; ".join(dict.fromkeys(reasons)) or "no scored images"
        return Rate(np.nan, 0, reason, np.full(len(product), np.nan), np.zeros(len(product)))
    left_out = f"{total - n} of {total} left out: a score is missing" if n < total else ""
    samples = decided.sum(axis=1, dtype=np.float64)
    per_seed = np.nansum(product, axis=1) / np.where(samples > 0, samples, np.nan)
    return Rate(float(product[decided].mean()), n, left_out, per_seed, samples)


def _exceeds_all_others(values: Array, index: int, *, axis: int) -> Array:
    """Return whether values[index] exceeds all others along the axis; NaN if any is NaN or none exists."""
    rest = np.delete(values, index, axis=axis)
    own = np.take(values, index, axis=axis)
    if rest.shape[axis] == 0:
        return np.full(own.shape, np.nan)
    top = rest.max(axis=axis)  # NaN spreads
    return np.where(np.isnan(own) | np.isnan(top), np.nan, own > top)


def _equal(a: Array, b: Array) -> Array:
    return np.where(np.isnan(a) | np.isnan(b), np.nan, a == b)
