"""Canaries in the data: a folder's name, a patient's id, what image files say beside their pixels.

A real run from real images, with a tracker that keeps pictures, and then a search through all that is to be
shown. Of a path the last name is shown, by design (see report.masking): the canary is the folder above.
"""

import csv
import importlib.util
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentpath.commands import report, run
from latentpath.report.compare import write_comparison

FOLDER, PATIENT, COMMENT = "zq-ward-folder", "zqpatient", "zq-exif-comment"
TRACKER = "tensorboard" if importlib.util.find_spec("tensorboard") else "csv"


@pytest.fixture(scope="module")
def finished(compose: Any, tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    base = tmp_path_factory.mktemp("private")
    data = base / FOLDER / "cohort" / "images"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for k in range(80):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        pixels[:, : 8 * (k % 2)], pixels[: 8 * (k // 2 % 2)] = 250, 20
        exif = Image.Exif()
        exif[0x9286], exif[0x010E] = f"{COMMENT} {PATIENT}{k:03d}", COMMENT
        name = f"{PATIENT}{k:03d}.jpg"
        Image.fromarray(pixels).save(data / name, exif=exif, comment=COMMENT.encode())
        rows.append({"image": name, "patient": f"{PATIENT}{k:03d}", "left": k % 2, "top": k // 2 % 2})
    with (data.parent / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    cfg = compose(
        "run",
        "dataset=image_table",
        f"logger={TRACKER}",
        *(["logger.images=true"] if TRACKER == "tensorboard" else []),
        f"dataset.root={data.parent}",
        "dataset.attributes=[left,top]",
        "dataset.table.group_column=patient",
        "dataset.image_size=32",
        "inversion=ddpm",
        "name=tiny",
        f"output_dir={base / 'out'}",
        f"model.name={tiny_sd}",
        "classifier.epochs=1",
        "finetune.max_steps=2",
        "finetune.batch_size=4",
        "finetune.sample_every=1",
        "timesteps.num_inference_steps=4",
        "timesteps.swap_steps=[0,2]",
        "sampler.seeds=2",
        "metric.frames=3",
        "metric.examples=2",
        "metric.lpips=[alex]",
        "figures=svg",
    )
    run.run(cfg, base / "out" / "tiny")
    return cfg, base / "out" / "tiny"


def _shown(run_dir: Path) -> list[Path]:
    """What is made to be looked at: the report, what trackers keep, every picture."""
    files = [file for file in run_dir.rglob("*") if file.is_file()]
    trackers = ("tfevents", "metrics.csv")
    return [
        file
        for file in files
        if file.suffix in (".png", ".jpg")
        or any(mark in file.name for mark in trackers)
        or (run_dir / "report" in file.parents and file.name not in ("config.yaml", "manifest.json"))
    ]


def test_no_canary_is_shown(finished: tuple[Any, Path]) -> None:
    _, run_dir = finished
    write_comparison([run_dir, run_dir], run_dir / "report")
    files = _shown(run_dir)
    kinds = {file.suffix for file in files}
    assert {".html", ".png", ".csv", ".tex", ".svg"} <= kinds
    assert TRACKER == "csv" or any("tfevents" in file.name for file in files)
    for file in files:
        content = file.read_bytes()
        for canary in (FOLDER, PATIENT, COMMENT, str(run_dir.parent)):
            assert canary.encode() not in content, f"{canary} in {file.relative_to(run_dir)}"
            assert canary not in file.name


def test_pictures_hold_pixels_and_no_more(finished: tuple[Any, Path]) -> None:
    _, run_dir = finished
    pictures = list(run_dir.rglob("*.png"))
    assert len(pictures) > 10
    for file in pictures:
        with Image.open(file) as image:
            image.load()
            assert not image.getexif() and not image.info.get("comment"), file.name
            texts = [v for v in image.info.values() if isinstance(v, str | bytes)]
            assert not texts, f"{file.name}: {image.info}"
        _only_needed_chunks(file.read_bytes(), file.name)


def test_the_report_is_made_again_on_demand(finished: tuple[Any, Path]) -> None:
    cfg, run_dir = finished
    page = run_dir / "report" / "index.html"
    (run_dir / "report" / "figures" / "flip_curves.svg").unlink()
    before = page.stat().st_mtime_ns
    report.run(cfg, run_dir)
    assert page.stat().st_mtime_ns == before
    assert (run_dir / "report" / "figures" / "flip_curves.svg").exists()
    cfg.overwrite = True
    report.run(cfg, run_dir)
    assert page.stat().st_mtime_ns > before
    cfg.compare, cfg.overwrite = ["tiny", "tiny"], False
    nothing = run_dir.parent / "unnamed"
    nothing.mkdir()
    report.run(cfg, nothing)
    assert (run_dir / "report" / "compare.html").exists() and not nothing.exists()


def _only_needed_chunks(png: bytes, name: str) -> None:
    at = 8
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        assert kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"), f"{name} has a chunk {kind!r}"
        assert zlib.crc32(png[at + 4 : at + 8 + length]) == int.from_bytes(
            png[at + 8 + length : at + 12 + length], "big"
        )
        at += 12 + length
