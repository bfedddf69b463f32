"""What the page's script gets: pictures within their bytes, probabilities as scored, no sign that ends it."""

import json
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from latentpath.report.artefacts import read_run
from latentpath.report.co_change import co_change_tables, entangled_pairs
from latentpath.report.latent_map import latent_map
from latentpath.report.pictures import Gallery
from latentpath.report.slider import explorer, payload, script_hash

MakeRun = Callable[..., Path]


def _decoded(uri: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(uri.split(",", 1)[1])))


def test_every_seed_and_path_with_pictures_and_scores(complete_run: Path) -> None:
    run = read_run(complete_run)
    data = explorer(run, Gallery(run))
    assert [track["name"] for track in data["tracks"]] == ["Swaps", "Bezier"]
    assert data["tracks"][0]["labels"] == ["neutral", "45", "15", "5"]
    assert len(data["sheets"]) == 2 * 2 * 2  # classes, seeds, paths
    scores = pd.read_parquet(complete_run / "evaluate" / "scores.parquet")
    sheet = next(s for s in data["sheets"] if (s["class"], s["seed"], s["track"]) == (1, 1, 0))
    row = scores[
        (scores["class"] == "NV")
        & (scores["seed"] == 1)
        & (scores["attribute"] == "ink")
        & (scores["swap_step"] == 15)
        & (scores["method"] == "swap")
    ].iloc[0]
    heads = ["prob_hair", "prob_gel_bubble", "prob_ink", "prob_ruler", "class_prob_MEL", "class_prob_NV"]
    assert sheet["probs"][2][2] == [round(1000 * row[head]) for head in heads]

    board = _decoded(sheet["uri"])
    assert board.size == (3 * 64, 5 * 64)  # three swaps; four attributes and below them the neutral picture
    with Image.open(complete_run / "evaluate" / "examples" / "NV_1_ink_swap_15_finetuned.png") as stored:
        tile = np.asarray(board.crop((64, 128, 128, 192)), dtype=float)
        assert np.abs(tile - np.asarray(stored.convert("RGB"), dtype=float)).mean() < 6


def test_bytes_are_kept_by_coarser_pictures_and_then_by_fewer_seeds(make_run: MakeRun) -> None:
    run = read_run(make_run(side=160, example_seeds=3))
    gallery = Gallery(run)
    fine, coarse = explorer(run, gallery), explorer(run, gallery, budget=60_000)
    assert {s["side"] for s in fine["sheets"]} == {160}
    assert len(coarse["sheets"]) > 0 and {s["side"] for s in coarse["sheets"]} < {64, 96, 128}
    assert sum(len(s["uri"]) for s in coarse["sheets"]) <= 60_000
    few = explorer(run, gallery, budget=12_000)
    assert 0 < len(few["sheets"]) < len(fine["sheets"])
    assert explorer(run, gallery, budget=10) == {}


def test_a_picture_that_is_missing_is_null(make_run: MakeRun) -> None:
    run_dir = make_run()
    (run_dir / "evaluate" / "examples" / "MEL_0_ink_swap_15_finetuned.png").unlink()
    run = read_run(run_dir)
    sheet = explorer(run, Gallery(run))["sheets"][0]
    assert sheet["probs"][1][2] is None and sheet["probs"][0][2] is not None


@pytest.mark.parametrize("side", [32, 64, 100, 300])
def test_the_slider_takes_pictures_of_any_size(make_run: MakeRun, side: int) -> None:
    run = read_run(make_run(side=side, classes=("chest",), swap_steps=(5,), methods=("swap",)))
    sheets = explorer(run, Gallery(run))["sheets"]
    assert {s["side"] for s in sheets} == {min(side, 256)}


def test_the_payload_cannot_end_its_element(make_run: MakeRun) -> None:
    run = read_run(make_run(attributes=("<!--<b>", "a&b"), examples=False))
    mapped = latent_map(run)
    assert mapped is not None
    text = str(payload(co_change_tables(run), map=mapped.data(run, [])))
    assert not set("<>&") & set(text)
    content = json.loads(text)
    assert content["map"]["attributes"] == ["<!--<b>", "a&b"]
    assert "<!--<b>" in content["copies"]["co_change_MEL"]["CSV"]


def test_points_of_the_map_are_ordered_from_weak_to_strong(complete_run: Path) -> None:
    mapped = latent_map(read_run(complete_run))
    assert mapped is not None
    assert [p[2:] for p in mapped.points[:5]] == [
        [0, 0, -1, 50],
        [0, 0, 0, 45],
        [0, 0, 0, 15],
        [0, 0, 0, 5],
        [0, 0, 1, 45],
    ]
    assert all(0 <= p[0] <= 720 and 0 <= p[1] <= 480 for p in mapped.points)


def test_entangled_pairs_come_with_their_worst_seeds(complete_run: Path) -> None:
    run = read_run(complete_run)
    pairs = entangled_pairs(run, Gallery(run))
    assert len(pairs) == 6
    assert any(pair.text.endswith("→ ruler") for pair in pairs)
    for pair in pairs:
        moves = [abs(example.after - example.before) for example in pair.examples]
        assert moves == sorted(moves, reverse=True) and all(move >= 0.05 for move in moves)


def test_the_hash_is_that_of_the_policy() -> None:
    assert script_hash("") == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
