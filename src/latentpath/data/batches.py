"""Training batches out of the latent cache: batch k is a function of (seed, k), so a resumed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from latentpath.data.latent_cache import LatentCache


class LatentBatches(IterableDataset[dict[str, Tensor]]):
    """`total` batches of moments (n, 2c, h, w) fp32 and prompt_embeds (n, length, dim), with their `number`
    and the `places` (n,) of their samples in the endless stream of all.

    Every epoch is a fresh permutation. `first()` says where to begin; it is asked when iteration starts, when
    a checkpoint has been restored. Of each batch rank r of w takes rows r, r + w, ...
    """

    def __init__(
        self,
        cache: LatentCache,
        *,
        batch_size: int,
        total: int,
        seed: int,
        caption_dropout: float = 0.0,
        first: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.cache, self.batch_size, self.total, self.seed = cache, batch_size, total, seed
        self.caption_dropout, self.first = caption_dropout, first
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()  # of several loading processes each takes its turn, so the order stays
        begin, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(self.first() + begin, self.total, stride):
            yield self.batch(number)

    def batch(self, number: int) -> dict[str, Tensor]:
        rows = self._rows(number)
        rng = np.random.default_rng((self.seed, 1, number))
        dropped = rng.random(len(rows)) < self.caption_dropout
        mine = slice(self.rank, None, self.world_size)
        places = np.arange(number * self.batch_size, (number + 1) * self.batch_size)[mine]
        rows, dropped = rows[mine], dropped[mine]
        moments = torch.from_numpy(self.cache.moments[rows].astype(np.float32))
        captions = np.where(dropped, 0, self.cache.caption_of[rows])
        return {
            "moments": moments,
            "prompt_embeds": self.cache.prompt_embeds[torch.from_numpy(captions)],
            "number": torch.tensor(number),
            "places": torch.from_numpy(places),
        }

    def _rows(self, number: int) -> np.ndarray:
        """Rows of batch `number` in an endless row of permutations, so that an epoch has no ragged end."""
        n = len(self.cache.moments)
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs = positions // n
        rows = np.empty(len(positions), dtype=np.int64)
        for epoch in np.unique(epochs):
            permutation = np.random.default_rng((self.seed, 0, int(epoch))).permutation(n)
            rows[epochs == epoch] = permutation[positions[epochs == epoch] % n]
        return rows
