"""Labelled images for the classifier, read once into a memory-mapped file that all processes share."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from latentpath.data.batches import affordable_workers
from latentpath.data.images import ImageSpec, load_images
from latentpath.data.pixels import to_model_range
from latentpath.data.records import ImageTable
from latentpath.errors import UserError
from latentpath.runs.arrays import read_array, save_array


class LabelledImages(Dataset[dict[str, Tensor]]):
    """Images with their labels; indexed by a list of positions, it gives a whole batch.

    images: (n, 3, size, size) uint8. class_labels: (n,) int64. attribute_labels: (n, A) float32, 0, 1 or nan.
    groups: (n,), the patient or lesion of each image.
    """

    def __init__(
        self,
        images: np.ndarray,
        positions: np.ndarray,
        class_labels: Tensor,
        attribute_labels: Tensor,
        groups: np.ndarray,
    ) -> None:
        self.images, self.positions, self.groups = images, positions, groups
        self.class_labels, self.attribute_labels = class_labels, attribute_labels

    def subset(self, places: np.ndarray) -> LabelledImages:
        """Return the images at `places`, which share the pixels with these."""
        return LabelledImages(
            self.images,
            self.positions[places],
            self.class_labels[places],
            self.attribute_labels[places],
            self.groups[places],
        )

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the images in order, `size` at a time, as (n, 3, h, w) in [-1, 1]."""
        for start in range(0, len(self), size):
            yield to_model_range(self[list(range(start, min(start + size, len(self))))]["images"])

    def __getstate__(self) -> object:
        """Pickle a memory map as its file name, so that a spawned process maps the file without a copy."""
        if not isinstance(self.images, np.memmap):
            return self.__dict__
        return self.__dict__ | {"images": Path(str(self.images.filename))}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state
        if isinstance(state["images"], Path):
            self.images = np.load(state["images"], mmap_mode="r")

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: list[int]) -> dict[str, Tensor]:
        return {
            "images": torch.from_numpy(self.images[self.positions[index]]),
            "class_labels": self.class_labels[index],
            "attribute_labels": self.attribute_labels[index],
        }

    __getitems__ = __getitem__  # DataLoader calls this to get a batch


class EpochOrder(Sampler[int]):
    """Permutes `count` positions as (seed, epoch) determine; rank r of w takes every w-th from r on.

    `epoch()` is called when iteration starts, so a resumed run sees the same order as an uninterrupted one.
    """

    def __init__(
        self, count: int, *, seed: int, epoch: Callable[[], int], rank: int = 0, world_size: int = 1
    ) -> None:
        self.count, self.seed, self.epoch, self.rank, self.world_size = count, seed, epoch, rank, world_size

    def __len__(self) -> int:
        return self.count // self.world_size

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch())).permutation(self.count)
        yield from order[self.rank : len(self) * self.world_size : self.world_size].tolist()


class ImageData(L.LightningDataModule):
    """The splits of an ImageTable as data loaders for Lightning.

    folder: stores the pixels during training, also for a training that resumes.
    key: identifies the content of the images (`content_keys`); stored pixels with another key are replaced.
    """

    def __init__(
        self,
        table: ImageTable,
        *,
        folder: Path,
        key: str,
        spec: ImageSpec,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        # All nodes share the run's folder, and two must not write one file.
        self.prepare_data_per_node = False
        self.table, self.folder, self.pixels = table, folder, folder / key
        self.spec, self.batch_size, self.seed, self.num_workers = spec, batch_size, seed, num_workers
        self.splits: dict[str, LabelledImages] = {}

    def prepare_data(self) -> None:
        """Read the images on rank 0, while the other ranks wait."""
        kept_file = self.pixels / "kept.npy"
        if kept_file.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # from another table, or incomplete
        _, kept = load_images(self.table.rows, self.spec, progress=True, out=self.pixels / "images.npy")
        if not (self.table.rows["split"].iloc[kept] == "train").any():
            raise UserError("no training image can be read; the warning above names the first of them")
        save_array(kept_file, kept)  # written last: it marks the pixels as complete

    def setup(self, stage: str | None = None) -> None:
        images, kept = read_array(self.pixels / "images.npy"), read_array(self.pixels / "kept.npy")
        rows = self.table.rows.iloc[kept].reset_index(drop=True)
        for name in ("train", "val", "test"):
            positions = np.flatnonzero(rows["split"] == name)
            labels = label_tensors(rows.iloc[positions], self.table.classes, self.table.attributes)
            groups = rows["group"].to_numpy()[positions]
            self.splits[name] = LabelledImages(images, positions, *labels, groups)

    def train_dataloader(self) -> DataLoader:
        data, trainer = self.splits["train"], self.trainer
        assert trainer is not None
        order = EpochOrder(
            len(data),
            seed=self.seed,
            epoch=lambda: trainer.current_epoch,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        batch_size = max(1, min(self.batch_size, len(data)) // trainer.world_size)
        return self._loader(data, batch_size=batch_size, sampler=order)

    def val_dataloader(self) -> DataLoader:
        """Return all validation images on every rank, so that the validation loss is exact."""
        return self._loader(self.splits["val"], batch_size=self.batch_size)

    def _loader(
        self, data: LabelledImages, *, batch_size: int, sampler: EpochOrder | None = None
    ) -> DataLoader:
        workers = affordable_workers(self.num_workers, batch_bytes=batch_size * data.images[0].nbytes)
        return DataLoader(
            data,
            batch_size=batch_size,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            # A separate generator: otherwise each iteration start would draw from that of dropout.
            generator=torch.Generator().manual_seed(self.seed),
            sampler=sampler,
            drop_last=sampler is not None,
        )


def content_keys(table: ImageTable, digests: Sequence[str], spec: ImageSpec) -> tuple[str, str]:
    """Return two hashes of a table: one of its pixels, one of everything that affects a training on it.

    digests: hashes of the file contents, in the order of the rows. Pixels depend on these and on `spec`; a
    training also depends on labels and splits. Neither depends on the path or time of a file.
    """
    pixels = [list(digests), spec.identity, spec.on_error]
    labels = table.rows[["cls", "split", *table.attributes]].to_csv(index=False)
    names = [hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16] for of in (pixels, [pixels, labels])]
    return names[0], names[1]


def label_tensors(
    rows: pd.DataFrame, classes: Sequence[str], attributes: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return class_labels (n,) int64, index into `classes`, and attribute_labels (n, A) in {0, 1, nan}."""
    codes = rows["cls"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64, copy=True)
    values = rows[list(attributes)].to_numpy(np.float32, copy=True)
    return torch.from_numpy(codes), torch.from_numpy(values)


def _as_it_is(batch: object) -> object:
    return batch
