"""t-SNE of all latents of a sweep, for viewing; distances and cluster sizes in it carry no meaning."""

import logging

import numpy as np
from numpy.typing import ArrayLike, NDArray

log = logging.getLogger(__name__)


def tsne(
    latents: ArrayLike, *, perplexity: float = 30.0, random_state: int = 0, pca_components: int = 50
) -> NDArray[np.float64]:
    """Map latents (n, ...) to coordinates (n, 2); equal input and `random_state` give equal output.

    Flattened, reduced by PCA to `pca_components` (or fewer if n or the size is smaller), then openTSNE.
    `perplexity` is cut to (n - 1) / 3, the most that n points have neighbours for. Fewer than 4 latents, or
    all equal: NaN, with a warning in the log. Raises ValueError if a latent is not finite.
    Source: van der Maaten and Hinton 2008; openTSNE (Policar et al. 2024).
    """
    # Imported here, so that other metrics neither need these packages nor wait for them.
    from openTSNE import TSNE
    from sklearn.decomposition import PCA

    flat = np.asarray(latents, dtype=np.float32)
    flat = flat.reshape(len(flat), -1)  # (n, d)
    if not np.isfinite(flat).all():
        raise ValueError("t-SNE needs finite latents; some are NaN or infinite")
    if len(flat) < 4 or (flat == flat[0]).all():
        log.warning(
            "t-SNE is undefined for fewer than 4 distinct latents (got %d): coordinates are NaN", len(flat)
        )
        return np.full((len(flat), 2), np.nan)
    components = min(pca_components, *flat.shape)
    reduced = PCA(components, random_state=random_state).fit_transform(flat)
    # one job: the map would depend on how many there are, and two took longer than one
    perplexity = max(1.0, min(perplexity, (len(flat) - 1) / 3))
    fit = TSNE(
        perplexity=perplexity,  # pyright: ignore[reportArgumentType]  (any positive number; typed by its default)
        random_state=random_state,
        n_jobs=1,
    )
    return np.asarray(fit.fit(reduced), dtype=np.float64)
