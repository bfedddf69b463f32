"""The cases of the validation, the judges that score them, and the expected results.

A case is a table of truths without images: the opacity of each attribute in each image, the class of the
lesion, and whether it is the same photograph. The oracle reads the table; for the trained judge the phantoms
are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
import torch
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm

from latentpath.data.phantoms import ATTRIBUTES, DIAGNOSES, draw_dermoscopy
from latentpath.data.pixels import to_model_range
from latentpath.judge.classifier import Classifier
from latentpath.metrics import cfrt_released, cfrt_strict

A = len(ATTRIBUTES)
POSITIONS = (0.6, 0.8, 1.0)  # opacity of the target attribute at the three positions of the strong end
STRONG, WEAK, FAINT = 0.9, 0.55, 0.3  # opacity of a leak: above A's mean, below it, below one half
DRAWING_SEED = 20_230  # no training set of this project uses this seed

RATES = ("released", "strict", "flipped", "dominant", "class_kept", "others_kept", "all")


@dataclass(frozen=True)
class Truth:
    """S seeds of one class, A edits, P positions.

    neutral (S, A) and edited (A, S, P, A): opacity of each attribute, in [0, 1]. neutral_class (S,) and
    edited_class (A, S, P): index in DIAGNOSES. picture (A, S, P): 0 has the lesion, skin, light and framing
    of the neutral image; n > 0 is the n-th other photograph of this lesion; n < 0 shows another lesion.
    """

    neutral: np.ndarray
    edited: np.ndarray
    neutral_class: np.ndarray
    edited_class: np.ndarray
    picture: np.ndarray


@dataclass(frozen=True)
class Scores:
    """A judge's probabilities and class decisions for the images of a `Truth`, for `metrics.cfrt`."""

    neutral: np.ndarray
    edited: np.ndarray
    neutral_class: np.ndarray
    edited_class: np.ndarray


Judge = Callable[[Truth], Scores]
Fault = Callable[[Scores, int], Scores]  # (scores, index of the target attribute)
Build = Callable[[int, int, int], Truth]  # (seeds, class, index of the target attribute)


def measure(judge: Judge, build: Build, *, seeds: int, fault: Fault | None = None) -> dict[str, list[float]]:
    """Return every rate of RATES per attribute, averaged over both classes: {rate: [attribute 0, ...]}.

    'released' equals the dominance across heads, because this definition has no other condition. 'all' is the
    strict definition together with the flip.
    """
    values = np.zeros((len(RATES), A))
    for cls, a in product(range(len(DIAGNOSES)), range(A)):
        scores = judge(build(seeds, cls, a))
        scores = fault(scores, a) if fault else scores
        args = (scores.neutral, scores.edited, a)
        classes = dict(neutral_class=scores.neutral_class, edited_class=scores.edited_class)
        released, strict = cfrt_released(*args, **classes), cfrt_strict(*args, **classes)
        alone = (strict.flipped, strict.dominant, strict.class_kept, strict.others_kept)
        rates = (released.cfrt, strict.cfrt, *alone, strict.all)
        values[:, a] += [rate.value / len(DIAGNOSES) for rate in rates]
    return dict(zip(RATES, values.tolist(), strict=True))


# Cases. Edit `i` is toward attribute i. Unless a case says otherwise, all edits behave alike.


def exact(seeds: int, cls: int, a: int, *, opacities: tuple[float, ...] = POSITIONS) -> Truth:
    """Exactly the target attribute appears, with increasing opacity."""
    edited = np.zeros((A, seeds, len(opacities), A))
    for i in range(A):
        edited[i, :, :, i] = opacities
    return Truth(
        neutral=np.zeros((seeds, A)),
        edited=edited,
        neutral_class=np.full(seeds, cls),
        edited_class=np.full(edited.shape[:3], cls),
        picture=np.zeros(edited.shape[:3], dtype=int),
    )


def nothing(seeds: int, cls: int, a: int) -> Truth:
    return exact(seeds, cls, a, opacities=(0.0, 0.0, 0.0))


def leak(opacity: float, rate: float = 1.0, *, where: str = "every edit") -> Build:
    """In a share of the seeds the next attribute also appears: in every edit, toward A only, or in others.

    The seeds are drawn separately for each edit, so that the leaks of two edits are independent.
    """

    def build(seeds: int, cls: int, a: int) -> Truth:
        truth = exact(seeds, cls, a)
        for i in range(A):
            if where == "every edit" or (where == "toward A") == (i == a):
                truth.edited[i, _share(rate, seeds, i), :, (i + 1) % A] = opacity
        return truth

    return build


def class_changed(rate: float = 1.0) -> Build:
    """In a share of the seeds the lesion changes to the other class."""

    def build(seeds: int, cls: int, a: int) -> Truth:
        truth = exact(seeds, cls, a)
        for i in range(A):
            truth.edited_class[i, _share(rate, seeds, i)] = 1 - cls
        return truth

    return build


def faded(opacity: float) -> Build:
    return lambda seeds, cls, a: exact(seeds, cls, a, opacities=(opacity,))


def removed(seeds: int, cls: int, a: int) -> Truth:
    """The attribute is present in the neutral image, and the edit toward it removes it."""
    truth = exact(seeds, cls, a)
    truth.neutral[:, a], truth.edited[..., a] = 1.0, 1.0
    truth.edited[a, ..., a] = 0.0
    return truth


def new_photograph(seeds: int, cls: int, a: int) -> Truth:
    """The target attribute does not appear, but light, framing and skin texture change."""
    return replace(nothing(seeds, cls, a), picture=_numbered(seeds))


def another_lesion(seeds: int, cls: int, a: int) -> Truth:
    """The attribute appears on another person's lesion of the same class."""
    return replace(exact(seeds, cls, a), picture=-_numbered(seeds))


def _numbered(seeds: int) -> np.ndarray:
    """Return picture numbers (A, S, P): different for each edit, equal for the positions of one edit."""
    return np.broadcast_to(np.arange(1, A + 1)[:, None, None], (A, seeds, len(POSITIONS)))


def _share(rate: float, seeds: int, edit: int) -> np.ndarray:
    """Choose exactly round(rate * S) seeds (S,); a larger rate includes the seeds of a smaller one."""
    return np.random.default_rng([7, edit]).permutation(seeds) < round(rate * seeds)


# Judges.


def oracle(truth: Truth) -> Scores:
    """Judge with the truth: the probability of an attribute is its opacity."""
    return Scores(truth.neutral, truth.edited, truth.neutral_class, truth.edited_class)


def noisy_oracle(auroc: float, seed: int = 0) -> Judge:
    """Return an oracle with the noise of a calibrated classifier of this AUROC.

    The noise is independent between heads and between edits.

    log odds of presence = N(+-d^2 / 2, d^2) with d = sqrt(2) * Phi^-1(AUROC), which is calibrated at equal
    prevalence. The images of one edit share their noise.
    """
    d = separation(auroc)

    def judge(truth: Truth) -> Scores:
        rng = np.random.default_rng([seed, int(truth.neutral_class[0])])

        def seen(present: np.ndarray, *shape: int) -> np.ndarray:
            return d * d * (present - 0.5) + d * rng.standard_normal(shape)

        actions, seeds, _, heads = truth.edited.shape
        neutral = seen(truth.neutral > 0.5, seeds, heads)
        edited = seen(truth.edited > 0.5, actions, seeds, 1, heads)
        neutral_class = seen(truth.neutral_class, seeds) > 0
        edited_class = seen(truth.edited_class, actions, seeds, 1) > 0
        return Scores(expit(neutral), expit(edited), neutral_class, edited_class)

    return judge


class TrainedJudge:
    """A classifier that scores the drawn phantoms; each image is drawn and scored once."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.size = classifier, classifier.image_size
        self.heads = [classifier.attributes.index(name) for name in ATTRIBUTES]
        self.classes = [classifier.classes.index(name) for name in DIAGNOSES]
        self.known: dict[tuple, np.ndarray] = {}  # (seed's class, seed, picture, class, opacities) -> scores

    def __call__(self, truth: Truth) -> Scores:
        born, (actions, seeds, positions, _) = int(truth.neutral_class[0]), truth.edited.shape
        where = np.arange(seeds)
        neutral = self.look(born, where, np.zeros(seeds, int), truth.neutral_class, truth.neutral)
        edited = self.look(
            born,
            np.broadcast_to(where[None, :, None], (actions, seeds, positions)).ravel(),
            truth.picture.ravel(),
            truth.edited_class.ravel(),
            truth.edited.reshape(-1, A),
        ).reshape(actions, seeds, positions, -1)
        return Scores(neutral[:, :A], edited[..., :A], neutral[:, A:].argmax(-1), edited[..., A:].argmax(-1))

    def look(self, born: int, *columns: np.ndarray) -> np.ndarray:
        """Return attribute and class probabilities (n, A + C) of the images that the columns describe."""
        rows = [column.tolist() for column in columns]
        keys = [(born, *row[:3], tuple(row[3])) for row in zip(*rows, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self.known]
        for start in range(0, len(new), 512):
            part = new[start : start + 512]
            images = torch.from_numpy(np.stack([picture(*key, size=self.size) for key in part]))
            classes, heads = self.classifier.predict(to_model_range(images.permute(0, 3, 1, 2)))
            scores = torch.cat([heads[:, self.heads], classes[:, self.classes]], dim=1).double().numpy()
            self.known |= dict(zip(part, scores, strict=True))
        return np.stack([self.known[key] for key in keys])


def picture(
    born: int, seed: int, number: int, cls: int, opacities: tuple[float, ...], *, size: int
) -> np.ndarray:
    """Draw the phantom of one image, (size, size, 3) uint8.

    Every painter is an affine map of the image below it. So an attribute at opacity w gives, up to rounding,
    w times the image with it plus 1 - w times the image without it.
    """
    own = 1_000_000 * born + seed
    index = own + 10_000_000 * abs(number)
    lesion = own if number >= 0 else index
    shown = [k for k in range(A) if opacities[k] > 0]
    image = np.zeros((size, size, 3))
    for on in product((False, True), repeat=len(shown)):
        weight = prod(opacities[k] if drawn else 1 - opacities[k] for k, drawn in zip(shown, on, strict=True))
        if weight > 0:
            present = tuple(k for k, drawn in zip(shown, on, strict=True) if drawn)
            image += weight * _drawn(index, lesion, cls, present, size)
    return (image + 0.5).astype(np.uint8)


@lru_cache(maxsize=4096)
def _drawn(index: int, lesion: int, cls: int, present: tuple[int, ...], size: int) -> np.ndarray:
    attributes = {name: k in present for k, name in enumerate(ATTRIBUTES)}
    return draw_dermoscopy(
        index, size=size, seed=DRAWING_SEED, diagnosis=DIAGNOSES[cls], attributes=attributes, lesion=lesion
    ).image


# Faults of a judge. Probabilities are kept away from 0 and 1, where a bias would have no effect.


def bent(which: Callable[[int], list[int]], *, times: float = 1.0, plus: float = 0.0) -> Fault:
    """Multiply and shift the log odds of the heads that `which` returns for A."""

    def fault(scores: Scores, a: int) -> Scores:
        neutral, edited = scores.neutral.copy(), scores.edited.copy()
        for head in which(a):
            for scored in (neutral, edited):
                scored[..., head] = expit(times * logit(scored[..., head].clip(0.01, 0.99)) + plus)
        return replace(scores, neutral=neutral, edited=edited)

    return fault


def random_head(scores: Scores, a: int) -> Scores:
    """Head A gives random values, uniform in [0, 1]."""
    rng, neutral, edited = np.random.default_rng([3, a]), scores.neutral.copy(), scores.edited.copy()
    neutral[..., a], edited[..., a] = rng.random(neutral.shape[:-1]), rng.random(edited.shape[:-1])
    return replace(scores, neutral=neutral, edited=edited)


def constant_class(scores: Scores, a: int) -> Scores:
    return replace(
        scores,
        neutral_class=np.zeros_like(scores.neutral_class),
        edited_class=np.zeros_like(scores.edited_class),
    )


def head_a(a: int) -> list[int]:
    return [a]


def next_head(a: int) -> list[int]:
    return [(a + 1) % A]


def other_heads(a: int) -> list[int]:
    return [k for k in range(A) if k != a]


@dataclass(frozen=True)
class Case:
    """A case with its `expected` RATES under the oracle: exact values, or expectations if `sampled`."""

    name: str
    build: Build
    expected: tuple[float, ...]
    fault: Fault | None = None
    sampled: bool = False


_LEAK_TOWARD_A = leak(STRONG, where="toward A")
_ALL_HOLD = (1,) * len(RATES)
CASES = (
    Case("exactly A changed", exact, _ALL_HOLD),
    Case("nothing changed", nothing, (0, 0, 0, 0, 1, 1, 0)),
    Case("A unchanged, but a new photograph of the lesion", new_photograph, (0, 0, 0, 0, 1, 1, 0)),
    Case("A, on another lesion of the class", another_lesion, _ALL_HOLD),
    Case("A at a tenth of its opacity", faded(0.1), (1, 1, 0, 1, 1, 1, 0)),
    Case("A was there and is removed", removed, (0, 1, 0, 1, 1, 1, 0)),
    Case("strong leak (0.9)", leak(STRONG), (0, 0, 1, 1 / 3, 1, 0, 0)),
    Case("weak leak (0.55)", leak(WEAK), (1, 0, 1, 1, 1, 0, 0)),
    Case("faint leak (0.3)", leak(FAINT), _ALL_HOLD),
    Case("class changed", class_changed(), (1, 0, 1, 1, 0, 1, 0)),
    Case(
        "only edits toward others leak (0.9)", leak(STRONG, where="others"), (1, 1 / 3, 1, 1 / 3, 1, 1, 1 / 3)
    ),
    Case("exactly A; head A constant", exact, (0, 0, 0, 0, 1, 1, 0), bent(head_a, times=0)),
    # Five uniform numbers u. all: the integral of P(|u_j - u| < |u_A - u|)^3 over u < 1/2 < u_A.
    Case(
        "exactly A; head A random",
        exact,
        (1 / 2, 1 / A, 1 / 4, 1 / A, 1, 1, 139 / 1280),
        random_head,
        sampled=True,
    ),
    Case("exactly A; head A says yes too easily", exact, (1, 1, 0, 1, 1, 1, 0), bent(head_a, plus=6)),
    Case(
        "faint leak toward A; head A timid",
        leak(FAINT, where="toward A"),
        (0, 1, 1, 1, 1, 1, 1),
        bent(head_a, times=1 / 8),
    ),
    Case("strong leak toward A", _LEAK_TOWARD_A, (0, 0, 1, 1, 1, 0, 0)),
    Case("the same; the leaking head constant", _LEAK_TOWARD_A, _ALL_HOLD, bent(next_head, times=0)),
    Case(
        "the same; the leaking head says yes too easily", _LEAK_TOWARD_A, _ALL_HOLD, bent(next_head, plus=6)
    ),
    Case("the same; all other heads constant", _LEAK_TOWARD_A, _ALL_HOLD, bent(other_heads, times=0)),
    Case("class changed; class head constant", class_changed(), _ALL_HOLD, constant_class),
)


# Expected results with noise.


def separation(auroc: float) -> float:
    """Return d' of two normal distributions: AUROC = Phi(d / sqrt(2)), accuracy = Phi(d / 2)."""
    return float(np.sqrt(2) * norm.ppf(auroc))


def agreement(accuracy: float, shared: float = 0.0) -> float:
    """Return how often a judge decides alike on two images with the same truth; errors correlate by `shared`.

    q^2 + (1 - q)^2 for shared = 0;  in general Phi2(z, z; shared) + Phi2(-z, -z; shared), z = Phi^-1(q)
    """
    z = norm.ppf(accuracy)
    both = multivariate_normal([0, 0], [[1, shared], [shared, 1]], allow_singular=True)
    return float(both.cdf([z, z]) + both.cdf([-z, -z]))


def expected_under_noise(auroc: float, *, asked: bool, grid: int = 400) -> tuple[float, float]:
    """Return (released, strict) of `exact` (asked=True) or `nothing` under `noisy_oracle`, by quadrature.

    For `nothing`, A heads (or images) are exchangeable and one of them is the largest, which gives 1/A. The
    kept conditions use other heads, so they are independent of the dominance and the probabilities multiply.
    """
    d, kept = separation(auroc), agreement(norm.cdf(separation(auroc) / 2)) ** A  # the class, A - 1 heads
    if not asked:
        return 1 / A, kept / A
    z = norm.ppf((np.arange(grid) + 0.5) / grid)
    before = expit(-d * d / 2 + d * z)[:, None]  # (grid, 1) f(x), attribute absent
    after = expit(d * d / 2 + d * z)[None]  # (1, grid) f(x'_A), present

    def below(p: np.ndarray) -> np.ndarray:
        """Return P(f < p) for an image without the attribute."""
        return norm.cdf((logit(p.clip(1e-12, 1 - 1e-12)) + d * d / 2) / d)

    steps = np.linspace(-1, 1, 2001)
    shift_below = below(before + steps).mean(axis=0)  # P(D_j < t)
    released = (np.interp(after - before, steps, shift_below) ** (A - 1)).mean()
    change = np.abs(after - before)
    strict = ((below(before + change) - below(before - change)) ** (A - 1)).mean()
    return float(released), float(strict * kept)
