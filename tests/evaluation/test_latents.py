"""Directions of stored latents: those of their own are named, seeds that lack one are not counted."""

from itertools import product

import numpy as np
import pandas as pd

from latentpath.evaluation import latents as module
from latentpath.evaluation.latents import named_directions
from latentpath.keys import LATENT_KEY


def stored(seeds: int, *, own: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Latents of one class: seed-specific noise, and at step 2 a direction `own` long for each attribute."""
    rng = np.random.default_rng(0)
    keys, latents = [], []
    toward = rng.normal(size=(3, 4, 2, 2))
    for seed in range(seeds):
        start = rng.normal(size=(4, 2, 2))
        for (k, attribute), step in [((0, ""), 9), *product(enumerate("abc"), (2, 6))]:
            method = "swap" if attribute else "neutral"
            keys.append(("NV", seed, attribute, method, step, 9, 1.0, "0.safetensors"))
            push = own * (step == 2) * toward[k] + 0.1 * rng.normal(size=(4, 2, 2))
            latents.append(start + push * (method == "swap"))
    return pd.DataFrame(keys, columns=[*LATENT_KEY, "shard"]), np.array(latents)


def test_a_direction_of_its_own_names_the_attribute_by_swap_step():
    index, latents = stored(12, own=1.0)
    found = named_directions(index.assign(row=range(len(index))), lambda rows: latents[rows["row"]])
    table = found.fillna({"attribute": ""}).set_index(["figure", "attribute", "swap_step"])["mean"]
    assert table["direction_named", "", 2] == 1 and table["direction_named", "b", 2] == 1
    assert table["direction_p", "", 2] < 0.01 < table["direction_p", "", 6]
    assert abs(table["direction_null", "", 2] - 1 / 3) < 0.05 and abs(table["direction_named", "", 6]) < 0.7
    ends = found[found["figure"] == "direction_named"]
    assert ((ends["low"] <= ends["mean"]) & (ends["mean"] <= ends["high"])).all() and (ends["n"] == 12).all()


def test_many_seeds_are_cut_and_a_step_that_lacks_an_image_is_left_out(monkeypatch):
    index, latents = stored(9, own=1.0)
    index = index.assign(row=range(len(index)))
    monkeypatch.setattr(module, "MOST_NAMED", 15)
    found = named_directions(index, lambda rows: latents[rows["row"]])
    assert (found["n"] == 5).all()
    hole = (index["seed"] == 1) & (index["attribute"] == "b") & (index["swap_step"] == 6)
    found = named_directions(index[~hole], lambda rows: latents[rows["row"]])
    assert set(found["swap_step"]) == {2}
    alone = index[index["attribute"].isin(["", "a"])]
    assert named_directions(alone, lambda rows: latents[rows["row"]]).empty
