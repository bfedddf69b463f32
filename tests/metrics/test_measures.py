"""A measure is one line of the registry: every image gets its column, and a reader its meaning."""

import math

import pytest
import torch

from latentpath.metrics.figures import FIGURES
from latentpath.metrics.measures import MEASURES, Measure, definition, figure, image_measures, measures_in


def test_a_new_measure_is_computed_and_described(monkeypatch):
    """The largest difference of two pixels, of a function that stands in perceptual.py."""
    from latentpath.metrics import perceptual

    def largest(images, reference):
        return (images - reference).abs().amax(dim=(1, 2, 3))

    monkeypatch.setattr(perceptual, "largest", largest, raising=False)
    measure = Measure("largest", "largest", "Largest difference.", "lower", function="perceptual.largest")
    monkeypatch.setitem(MEASURES, "largest", measure)
    images, reference = torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    images[1, 0, 3, 3] = 0.25
    compute = image_measures({})["largest"]
    assert compute is not None and compute(images, reference).tolist() == [0, 0.25]
    assert measures_in(["largest", "seed", "l1"]) == ["l1", "largest"]
    assert definition("largest ↓") == "Largest difference."


def test_a_net_without_weights_has_no_function_and_one_not_asked_for_no_column():
    found = image_measures({"alex": None})
    assert list(found) == ["lpips_alex", "ssim", "l1"] and found["lpips_alex"] is None


def test_every_measure_lies_in_its_range():
    images, reference = torch.rand(4, 3, 16, 16), torch.rand(1, 3, 16, 16)
    for key, compute in image_measures({}).items():
        assert compute is not None
        values = compute(images, reference)
        assert values.min() >= figure(key).range[0] and values.max() <= figure(key).range[1], key


def test_figures_are_described_once():
    every = [*FIGURES.values(), *MEASURES.values()]
    assert len({each.key for each in every}) == len({each.label for each in every}) == len(every)
    for each in every:
        assert each.definition.endswith("."), each.key
        assert each.range[0] < each.range[1] and not math.isnan(each.range[0])
        assert figure(each.key) is each
    with pytest.raises(KeyError):
        figure("unknown")
    assert definition("unknown") == ""
