"""Selectivity: does a head change most under edits toward its attribute, and less under other edits?

CFRT as the released code computes it says how often head A moves most under the edit toward A. A head that
always moves most has a high CFRT and yet says nothing about the edits. Selectivity subtracts how often head
A moves most under the edits toward *other* attributes: it is 0 for such a head, whatever the scales of the
heads.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Selectivity:
    """How selective the edits toward A attributes are, over n seeds with an image toward each; NaN if n is 0.

    confusion    (A, A) K_iA, the share of seeds whose head A moves most under the edit toward i, in [0, 1];
                 a row sums to 1, or less where two heads move equally far
    null         (A,) mean over i != A of K_iA: how often head A moves most when it is not asked for
    by_attribute (A,) J_A = K_AA - null_A, in [-1, 1]
    p            (A,) one-sided P(J_A at least as large) if a seed's edit labels were exchanged; exact
    mean, mean_p the mean of J_A over A, and its P
    bits         information between the edit and the head that moves most, in [0, log2 A]
    per_seed     (S, A) whose mean over seeds is by_attribute, NaN for the seeds left out; for intervals
    """

    confusion: Array
    null: Array
    by_attribute: Array
    p: Array
    mean: float
    mean_p: float
    bits: float
    n: int
    per_seed: Array


def selectivity(neutral: ArrayLike, edited: ArrayLike) -> Selectivity:
    """Selectivity of scores, with an exact permutation test within seeds.

        D_si[a] = mean_p ( f_a(x'_sip) - f_a(x_s0) )                  change of head a, edit toward i
        K_iA    = 1/n sum_s 1[ D_si[A] > D_si[a] for every a != A ]   head A moves most
        J_A     = K_AA - 1/(A-1) sum_{i != A} K_iA

    neutral (S, A), edited (A, S, P, A) as in `metrics.cfrt`; K_AA is the released CFRT. Seeds without a
    score are left out. Under the null hypothesis the A edits of a seed do the same, so their labels can be
    exchanged. Each J_A is then a sum of independent draws, one a seed (head A is most moved in c of A
    edits), and the mean over A a sum of matches of a random permutation (rook polynomial): both
    distributions are computed, not sampled. `bits` is the plug-in mutual information less the bias (k -
    1)(A - 1) / (2 N ln 2) of Miller and Madow, k heads that ever move most and N edits, never below 0.
    Raises ValueError on wrong shapes and with fewer than two attributes.
    Sources: Youden 1950, for J; Riordan 1958, chapter 7, for the matches.
    """
    before, after = np.asarray(neutral, dtype=np.float64), np.asarray(edited, dtype=np.float64)
    count = before.shape[-1]
    if before.ndim != 2 or after.ndim != 4 or after.shape != (count, len(before), after.shape[2], count):
        raise ValueError(f"neutral is (S, A) and edited (A, S, P, A); got {before.shape} and {after.shape}")
    if count < 2:
        raise ValueError("selectivity compares attributes: there must be two or more")
    change = (after - before[None, :, None]).mean(axis=2)  # (A, S, A)
    there = np.isfinite(change).all(axis=(0, 2))
    change, of_all = change[:, there], np.full(before.shape, np.nan)
    n = change.shape[1]
    if n == 0:
        no, none = float("nan"), np.full(count, np.nan)
        return Selectivity(np.full((count, count), no), none, none, none, no, no, no, 0, of_all)
    largest = change.max(axis=2, keepdims=True)
    most = (change == largest) & ((change == largest).sum(axis=2, keepdims=True) == 1)  # (A, n, A)
    own = np.einsum("asa->sa", most)  # (n, A) head A moves most under its own edit
    total = most.sum(axis=0)  # (n, A) edits under which head A moves most
    per_seed = own - (total - own) / (count - 1)
    of_all[there] = per_seed
    confusion = most.mean(axis=1)
    by_attribute = per_seed.mean(axis=0)
    p = [_tail(_of_independent(total[:, a] / count), int(own[:, a].sum())) for a in range(count)]
    return Selectivity(
        confusion=confusion,
        null=np.diag(confusion) - by_attribute,
        by_attribute=by_attribute,
        p=np.array(p),
        mean=float(by_attribute.mean()),
        mean_p=_tail(_sum_of_matches([tuple(map(int, row)) for row in total]), int(own.sum())),
        bits=_bits(most.sum(axis=1).astype(np.float64)),
        n=n,
        per_seed=of_all,
    )


def matches(counts: Sequence[int]) -> Array:
    """Return P(j matches), j = 0..A, if the labels of one seed's A edits are permuted at random: (A + 1,).

    counts: (A,), counts[a] is the number of these edits under which head a moves most. An edit with label a
    matches if head a moves most under it. Edits under which two heads move equally far are in no count and
    never match, so the counts may sum to less than A.

        r_k  = elementary symmetric polynomial of degree k of the counts
        P(j) = 1/A! sum_{k >= j} (-1)^(k - j) C(k, j) r_k (A - k)!          (inclusion and exclusion)

    Source: Riordan 1958, chapter 7.
    """
    size = len(counts)
    rook = [1] + [0] * size
    for c in counts:
        for k in range(size, 0, -1):
            rook[k] += c * rook[k - 1]
    exactly = [
        sum((-1) ** (k - j) * comb(k, j) * rook[k] * factorial(size - k) for k in range(j, size + 1))
        for j in range(size + 1)
    ]
    return np.array([number / factorial(size) for number in exactly])


def _of_independent(probabilities: Array) -> Array:
    """Return P(k successes), k = 0..n, of n independent draws with these probabilities of success."""
    total = np.ones(1)
    for p in probabilities:
        total = np.convolve(total, [1 - p, p])
    return total


def _sum_of_matches(seeds: Sequence[tuple[int, ...]]) -> Array:
    """Return P(k matches over all seeds), k = 0, 1, ...; the order of a seed's counts does not matter."""
    total = np.ones(1)
    for counts, times in Counter(tuple(sorted(counts)) for counts in seeds).items():
        of_one = matches(counts)
        for _ in range(times):
            total = np.convolve(total, of_one)
    return total


def _tail(probabilities: Array, at_least: int) -> float:
    return float(min(1.0, probabilities[at_least:].sum()))


def _bits(counts: Array) -> float:
    """counts (A, A): how often head A moved most under edit i."""
    total = counts.sum()
    if total == 0:
        return 0.0
    joint = counts / total
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    information = float((joint[there] * np.log2(joint[there] / independent[there])).sum())
    edits, heads = ((counts.sum(axis=axis) > 0).sum() for axis in (1, 0))
    return max(0.0, information - (edits - 1) * (heads - 1) / (2 * total * np.log(2)))
