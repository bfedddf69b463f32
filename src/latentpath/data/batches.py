"""Training batches from the latent cache. Batch k depends on (seed, k) only, so a training can resume."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from latentpath.data.latent_cache import LatentCache

SHARED_MEMORY = Path("/dev/shm")  # where Linux passes batches between processes; Docker gives it 64 MB
PREFETCHED = 2  # batches that each worker of a DataLoader keeps ready

log = logging.getLogger(__name__)


def affordable_workers(wanted: int, *, batch_bytes: int) -> int:
    """Return `wanted`, or 0 with a warning if shared memory cannot hold the batches that workers prefetch.

    Without enough memory the workers would hang or be killed silently. The batches do not depend on the
    workers.
    """
    if not wanted or not SHARED_MEMORY.is_dir():
        return wanted
    needed = wanted * (PREFETCHED + 1) * batch_bytes  # one more is with the training step
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed <= free:
        return wanted
    log.warning(
        "trainer.num_workers=%d needs %.0f MB of shared memory, and %s has %.0f MB free: batches are read "
        "without workers. Docker gives more with --shm-size",
        wanted,
        needed / 1e6,
        SHARED_MEMORY,
        free / 1e6,
    )
    return 0


class LatentBatches(IterableDataset[dict[str, Tensor]]):
    """The training batches, `total` of them, as an iterable data set.

    A batch holds moments (n, 2c, h, w) fp32; `captions` (n,), rows of the cache's table of captions; its
    `number`; and `places` (n,), the positions of its samples in the endless stream of all samples.

    Every epoch is a fresh permutation. `first()` gives the number of the first batch; it is called when
    iteration starts, after a checkpoint was restored. Of each batch rank r of w takes rows r, r + w, ...
    """

    def __init__(
        self,
        cache: LatentCache,
        *,
        batch_size: int,
        total: int,
        seed: int,
        caption_dropout: float = 0.0,
        first: Callable[[], int] = int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.cache, self.batch_size, self.total, self.seed = cache, batch_size, total, seed
        self.caption_dropout, self.first = caption_dropout, first
        self.rank, self.world_size = rank, world_size

    def __getstate__(self) -> object:
        """Give a spawned worker the number of the first batch, instead of `first` with its trainer."""
        return self.__dict__ | {"first": partial(int, self.first())}

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()  # several loading processes take turns, which keeps the order
        begin, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(self.first() + begin, self.total, stride):
            yield self.batch(number)

    @property
    def batch_bytes(self) -> int:
        """The size of one batch in bytes, in float32."""
        sample = self.cache.moments[0].size + self.cache.prompt_embeds[0].numel()
        return 4 * self.batch_size * sample // self.world_size

    def batch(self, number: int) -> dict[str, Tensor]:
        """Return batch `number` of this rank; equal numbers give equal batches."""
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
            "captions": torch.from_numpy(captions),
            "number": torch.tensor(number),
            "places": torch.from_numpy(places),
        }

    def _rows(self, number: int) -> np.ndarray:
        """Return the rows of batch `number` in an endless sequence of permutations of all rows."""
        n = len(self.cache.moments)
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs = positions // n
        rows = np.empty(len(positions), dtype=np.int64)
        for epoch in np.unique(epochs):
            permutation = np.random.default_rng((self.seed, 0, int(epoch))).permutation(n)
            rows[epochs == epoch] = permutation[positions[epochs == epoch] % n]
        return rows
