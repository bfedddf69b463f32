"""t-SNE: separate clouds stay separate, and the same input gives the same map."""

import subprocess
import sys

import numpy as np
import pytest

from latentpath.metrics import tsne


def test_clouds_are_kept_apart_and_reproduced():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 20)
    centres = rng.normal(size=(3, 4, 6, 6)) * 5
    latents = (centres[label] + rng.normal(size=(60, 4, 6, 6))).astype(np.float32)
    map_ = tsne(latents, perplexity=10)
    assert map_.shape == (60, 2)
    distances = np.linalg.norm(map_[:, None] - map_[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (label[distances.argmin(axis=1)] == label).all()
    np.testing.assert_array_equal(map_, tsne(latents, perplexity=10))


def test_few_points_cut_the_perplexity():
    """Perplexity 30 needs 91 points; openTSNE would warn or fail with 5."""
    assert np.isfinite(tsne(np.random.default_rng(0).normal(size=(5, 8)), perplexity=30)).all()


@pytest.mark.parametrize("latents", [np.zeros((3, 8)), np.ones((10, 8))])
def test_undefined_is_nan_with_a_warning(latents, caplog):
    assert np.isnan(tsne(latents)).all() and "undefined" in caplog.text


def test_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        tsne(np.full((10, 4), np.nan))


def test_importing_it_imports_no_t_sne():
    """`latentpath evaluate metric.tsne=false` runs on a machine without openTSNE."""
    script = "import sys, latentpath.metrics.embedding\nprint({'openTSNE', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
