"""experiments/metric_validation: under an oracle, CFRT has the values that the study states."""

import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "experiments" / "metric_validation"


@pytest.fixture(scope="module")
def study():
    """run.py and cases.py, imported as the script imports them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import cases
        import run

        yield SimpleNamespace(run=run, cases=cases)
        for name in ("cases", "run"):
            sys.modules.pop(name, None)


def test_the_oracle_finds_every_case_as_expected(study):
    for case in study.cases.CASES:
        found = study.cases.measure(study.cases.oracle, case.build, seeds=10, fault=case.fault)
        for rate, expected in zip(study.cases.RATES, case.expected, strict=True):
            if not case.sampled:
                assert found[rate] == pytest.approx([expected] * 4), (case.name, rate)


def test_sampled_cases_are_near_their_expectation(study):
    for case in study.cases.CASES:
        if case.sampled:
            found = study.cases.measure(study.cases.oracle, case.build, seeds=2000, fault=case.fault)
            means = [np.mean(found[rate]) for rate in study.cases.RATES]
            np.testing.assert_allclose(means, case.expected, atol=0.02)


def test_leaks_and_changes_lower_cfrt_by_their_share(study):
    """Exactly, where one condition fails; where two independent ones do, as often as the draw has it."""
    found = study.run.curves({"oracle": study.cases.oracle}, 40)
    for name in ("leak of 0.9", "leak of 0.55", "leak of 0.3", "class changed", "opacity of A"):
        for rate, expected in found[name]["expected"].items():
            sampled = (name, rate) == ("leak of 0.9", "strict")
            np.testing.assert_allclose(found[name]["oracle"][rate], expected, atol=0.05 if sampled else 1e-9)
    for name in ("noise, exactly A", "noise, nothing"):
        for rate, expected in found[name]["expected"].items():
            np.testing.assert_allclose(found[name]["oracle"][rate], expected, atol=0.015)
    assert found["noise, nothing"]["expected"]["released"] == [0.25] * 8  # the zero of the scale is not 0
    ElementTree.fromstring(study.run.figure(found))


def test_probabilities_of_a_calibrated_judge_are_frequencies(study):
    """Of the images that it calls present with probability about p, a share of p has the attribute."""
    truth = study.cases.exact(20_000, 0, 0)
    present = np.broadcast_to(np.arange(20_000)[:, None] % 2, truth.neutral.shape)
    truth = study.cases.replace(truth, neutral=present.astype(float))
    p = study.cases.noisy_oracle(0.9)(truth).neutral
    for low in (0.1, 0.3, 0.5, 0.7):
        bin_ = (p > low) & (p < low + 0.2)
        assert present[bin_].mean() == pytest.approx(p[bin_].mean(), abs=0.02)
    assert ((p > 0.5) == present).mean() == pytest.approx(0.818, abs=0.01)  # Phi(d / 2), d = sqrt(2) 1.2816


def test_agreement_of_a_judge_with_itself(study):
    agreement = study.cases.agreement
    assert agreement(0.9) == pytest.approx(0.9**2 + 0.1**2, abs=1e-6)
    assert agreement(0.9, 1.0) == pytest.approx(1.0, abs=1e-6)
    assert agreement(0.9) < agreement(0.9, 0.5) < 1
    assert study.run.ceiling(study.run.PUBLISHED)["hair"]["0.0"] == pytest.approx(0.645, abs=1e-3)


class Seer:
    """Stands in for a trained classifier, with outputs in another order than the phantoms' attributes."""

    image_size = 32
    attributes = ("ruler", "hair", "ink", "gel_bubble", "vasc")
    classes = ("NV", "MEL")

    def __init__(self):
        self.seen = 0

    def predict(self, images):
        assert images.shape[1:] == (3, 32, 32) and images.min() >= -1 and images.max() <= 1
        self.seen += len(images)
        dark = (images.mean(dim=(1, 2, 3)) < 0.2).float()
        heads = torch.arange(5) / 10 + torch.zeros(len(images), 1)
        return torch.stack([1 - dark, dark], dim=1), heads


def test_the_trained_judge_draws_each_picture_once_and_sorts_the_outputs(study):
    classifier, build = Seer(), study.cases.leak(0.55)
    judge = study.cases.TrainedJudge(classifier)
    truth = build(2, 1, 0)
    scores = judge(truth)
    judge(build(2, 1, 3))
    assert classifier.seen == len(judge.known) == 2 * (1 + 4 * 3)
    assert scores.edited.shape == (4, 2, 3, 4) and scores.edited_class.shape == (4, 2, 3)
    np.testing.assert_allclose(scores.neutral, [[0.1, 0.3, 0.2, 0.0]] * 2, atol=1e-6)


def test_pictures_show_what_the_truth_says(study):
    """At opacity w a pixel is w of the way; another class keeps the skin, another lesion does not."""
    draw = lambda *key: study.cases.picture(*key, size=32).astype(int)  # noqa: E731
    none, ink = (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
    neutral, full, half = (
        draw(0, 3, 0, 0, none),
        draw(0, 3, 0, 0, ink),
        draw(0, 3, 0, 0, (0.0, 0.0, 0.5, 0.0)),
    )
    assert np.abs(half - (neutral + full) / 2).max() <= 0.5 and (neutral != full).any()
    corner = np.s_[:2, :2]
    assert (draw(0, 3, 0, 1, none)[corner] == neutral[corner]).all()
    assert (draw(0, 3, 1, 0, none) != draw(0, 3, -1, 0, none)).any()
    assert study.run.pictures(size=16, zoom=1).size == (180, 36)


def test_without_a_judge_it_says_how_to_make_one(study, tmp_path):
    with pytest.raises(SystemExit, match="make demo"):
        study.run.trained_judge(tmp_path)
