"""Copies: a planted one is found first, independent images are left alone, and blocks change nothing."""

import numpy as np
import pytest

from latentpath.data.phantoms import draw_dermoscopy
from latentpath.metrics import copies, nearest


@pytest.fixture(scope="module")
def phantoms() -> np.ndarray:
    """350 drawings, no two of one lesion: (350, 32, 32, 3) in [0, 1]."""
    drawn = [draw_dermoscopy(i, size=32, seed=12).image for i in range(350)]
    return np.stack(drawn).astype(np.float32) / 255


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_a_planted_copy_is_found_first_and_the_others_are_not_flagged(phantoms, metric):
    training, generated = phantoms[:300], phantoms[300:].copy()
    noise = np.random.default_rng(0).normal(0, 0.02, training[0].shape)
    generated[17] = training[123]  # exact
    generated[31] = np.clip(1.03 * training[45] + noise, 0, 1)  # a little brighter, and noise
    table = copies(generated, training, metric=metric)
    assert list(table.columns) == ["generated", "training", "distance", "score", "flagged"]
    assert table[["generated", "training"]].head(2).values.tolist() == [[17, 123], [31, 45]]
    assert (table.distance[0], table.score[0]) == (0.0, 0.0)
    assert table.flagged.tolist() == [True] * 2 + [False] * 48
    assert table.score.is_monotonic_increasing and table.score.between(0, 1).all()


def test_latents_as_the_cache_holds_them(tmp_path):
    """float16 on disk, (n, c, h, w), the means a view of the moments."""
    rng = np.random.default_rng(1)
    moments = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.float16, (80, 8, 4, 4))
    moments[:] = rng.normal(3, 1, moments.shape)
    means = moments[:, :4]
    generated = np.asarray(means[[60, 7]], dtype=np.float32) + 0.01
    table = copies(generated, means, chunk=16)
    assert table.flagged.all() and sorted(table.training) == [7, 60]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_nearest_is_brute_force_whatever_the_blocks(metric):
    rng = np.random.default_rng(2)
    x, y = rng.normal(5, 1, (13, 6)), rng.normal(5, 1, (37, 6))
    a, b = x - y.mean(axis=0), y - y.mean(axis=0)
    if metric == "l2":
        expected = np.linalg.norm(a[:, None] - b[None], axis=2)
    else:
        length = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        expected = 1 - a @ b.T / length
    order = np.argsort(expected, axis=1)[:, :5]
    for chunk in (1, 4, 37, 1000):
        found = nearest(x, y, k=5, metric=metric, chunk=chunk)
        np.testing.assert_array_equal(found.indices, order)
        np.testing.assert_allclose(found.distances, np.take_along_axis(expected, order, 1), atol=1e-5)


@pytest.mark.parametrize("chunk", [3, 100])
def test_equally_near_come_in_the_order_of_training(chunk):
    training = np.array([[9, 9], [1, 0], [-1, 0], [-9, -9], [0, 1], [1, 0], [0, -1], [-1, 0]])
    found = nearest([[0, 0]], training, k=5, chunk=chunk)
    assert found.indices.tolist() == [[1, 2, 4, 5, 6]]
    assert (found.distances == 1).all()


def test_an_exact_copy_is_at_zero_far_from_the_origin():
    """|a|^2 - 2ab + |b|^2 in float32 would leave some tenths here."""
    y = np.random.default_rng(3).normal(0, 1, (60, 64)) + np.linspace(0, 3000, 60)[:, None]
    assert (nearest(y, y, k=1).distances == 0).all()


def test_only_copies_around():
    """Fifty equal images: every distance is 0, so is the score, not NaN."""
    table = copies(np.ones((1, 3)), np.ones((50, 3)))
    assert (table.score[0], bool(table.flagged[0])) == (0.0, True)


def test_no_generated_images_give_an_empty_table():
    assert copies(np.empty((0, 3)), np.eye(60, 3)).empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nearest(x, x, k=5), "between 1 and the number of training images, 4"),
        (lambda x: nearest(x, x, k=0), "between 1"),
        (lambda x: copies(x, x), "training images, 4; got 50"),
        (lambda x: copies(x, x, neighbours=1), "at least 2"),
        (lambda x: nearest(x, x[:, :2]), "must be"),
        (lambda x: nearest(x, x, metric="l1"), "metric"),
        (lambda x: nearest(x, x, chunk=0), "chunk"),
        (lambda x: nearest(x * np.nan, x), "finite"),
    ],
)
def test_what_cannot_be_answered_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.eye(4, 3))
