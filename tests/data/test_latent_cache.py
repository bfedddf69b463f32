"""The cache holds the outputs of the VAE and the text encoder, and its key covers all inputs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal

import numpy as np
import pytest
import torch

from latentpath.data.images import ReadImages
from latentpath.data.latent_cache import build_cache, cache_key, file_digests, open_cache
from latentpath.data.records import Problem
from latentpath.diffusion.components import BaseModel
from latentpath.errors import UserError
from latentpath.runs.files import write_json

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
CAPTIONS = ["with hair", "with ink", "with hair", "", "with hair, ink", "with ink", "with hair"]


def read(places) -> ReadImages:
    return ReadImages(IMAGES[list(places)], np.arange(len(places)), [])


def embed(captions: list[str]) -> torch.Tensor:
    """(captions, 3, 2), and every caption's own."""
    return torch.tensor([[[len(c), sum(map(ord, c))]] * 3 for c in captions], dtype=torch.float64)


def encode(captions: list[str]) -> dict[str, torch.Tensor]:
    return {"prompt_embeds": embed(captions)}


@pytest.fixture(scope="module")
def vae(tiny_sd):
    return BaseModel(str(tiny_sd)).vae()


@pytest.fixture
def folder(vae, tmp_path):
    """A sealed cache."""
    build_cache(tmp_path / "key", read=read, captions=CAPTIONS, vae=vae, encode=encode, batch_size=3)
    return tmp_path / "key"


def test_moments_equal_the_vaes_within_half_precision(folder, vae):
    cache = open_cache(folder)
    posterior = vae.encode(torch.from_numpy(IMAGES).float() / 127.5 - 1).latent_dist
    expected = torch.cat([posterior.mean, posterior.logvar], dim=1)
    assert (cache.moments.shape, cache.moments.dtype) == ((7, 8, 8, 8), np.float16)
    torch.testing.assert_close(torch.tensor(cache.moments).float(), expected, atol=1e-3, rtol=1e-3)


def test_every_image_finds_its_caption_and_row_0_is_the_empty_prompt(folder):
    cache = open_cache(folder)
    assert torch.equal(cache.prompt_embeds[0], embed([""])[0].float())
    assert len(cache.prompt_embeds) == 4  # the empty one, and each caption once
    for row, caption in zip(cache.caption_of, CAPTIONS, strict=True):
        assert torch.equal(cache.prompt_embeds[row], embed([caption])[0].float())


def test_pooled_embeddings_stand_beside_the_others_where_there_are_any(folder, vae, tmp_path):
    assert open_cache(folder).prompt_pooled is None

    def both(captions: list[str]) -> dict[str, torch.Tensor]:
        return encode(captions) | {"prompt_pooled": embed(captions)[:, 0]}

    build_cache(tmp_path / "xl", read=read, captions=CAPTIONS, vae=vae, encode=both)
    cache = pickle.loads(pickle.dumps(open_cache(tmp_path / "xl")))
    assert torch.equal(cache.prompt_pooled, cache.prompt_embeds[:, 0])
    (tmp_path / "xl" / "prompt_pooled.npy").unlink()
    with pytest.raises(UserError, match="is damaged"):
        open_cache(tmp_path / "xl")


def test_what_is_built_is_what_is_opened(folder, vae, tmp_path):
    told: list[int] = []
    built = build_cache(
        tmp_path / "again", read=read, captions=CAPTIONS, vae=vae, encode=encode, on_images=told.append
    )
    assert sum(told) == 7
    np.testing.assert_allclose(built.moments, open_cache(folder).moments, atol=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "key"]


def test_a_cache_of_a_killed_process_is_cleared_away_by_the_next_start(tmp_path, vae):
    """By whichever stage starts next, and whether or not it makes the same cache."""
    child = os.fork()
    if child == 0:
        die = lambda places: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        build_cache(tmp_path / "key", read=die, captions=CAPTIONS, vae=vae, encode=encode)  # pyright: ignore
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    file_digests([], tmp_path / "digests.json")
    assert list(tmp_path.iterdir()) == []


def test_the_key_changes_with_an_image_a_caption_and_the_weights():
    digests, identity = [str(i) for i in range(7)], {"base": "tiny", "weights": "1234"}
    caption = [*CAPTIONS[:-1], "with ink"]
    keys = [
        cache_key(digests, CAPTIONS, identity),
        cache_key([*digests[:-1], "x"], CAPTIONS, identity),
        cache_key(digests[::-1], CAPTIONS, identity),
        cache_key(digests, caption, identity),
        cache_key(digests, CAPTIONS[::-1], identity),
        cache_key(digests, CAPTIONS, identity | {"weights": "1235"}),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(list(digests), list(CAPTIONS), {"weights": "1234", "base": "tiny"}) == keys[0]


def test_a_files_digest_is_of_its_content_and_is_taken_once(tmp_path, monkeypatch):
    files = [tmp_path / name for name in "abc"]
    for file, content in zip(files, ("one", "two", "one"), strict=True):
        file.write_text(content)
    paths, memo = [str(f) for f in files] + [str(tmp_path / "absent")], tmp_path / "memo" / "digests.json"
    first = file_digests(paths, memo)
    assert first[0] == first[2] != first[1]
    assert first[3] == ""
    files[1].write_text("other")
    second = file_digests(paths, memo)
    assert second[1] != first[1]
    assert (second[0], second[2]) == (first[0], first[2])
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: pytest.fail("read again"))
    assert file_digests(paths, memo) == second


def test_images_that_cannot_be_read_are_left_out(vae, tmp_path, monkeypatch):
    """Also where they are read in several goes."""
    monkeypatch.setattr("latentpath.data.latent_cache.READ_AT_ONCE", 2)

    def some(places) -> ReadImages:
        kept = np.array([k for k, place in enumerate(places) if place not in (0, 4)], np.int64)
        lost = [Problem("unreadable", "", None, f"image {k} is odd") for k in places if k in (0, 4)]
        return ReadImages(IMAGES[[places[k] for k in kept]], kept, lost)

    options = {"captions": CAPTIONS, "vae": vae, "encode": encode}
    left = build_cache(tmp_path / "left", read=some, **options)
    whole = build_cache(tmp_path / "whole", read=read, **options)
    assert open_cache(tmp_path / "left").unreadable == ("image 0 is odd", "image 4 is odd")
    assert whole.unreadable == ()
    kept = [1, 2, 3, 5, 6]
    np.testing.assert_allclose(left.moments, whole.moments[kept], atol=1e-3)
    for a, b in zip(left.caption_of, whole.caption_of[kept], strict=True):
        assert torch.equal(left.prompt_embeds[a], whole.prompt_embeds[b])


@pytest.mark.parametrize("file", ["cache.json", "moments.npy", "prompt_embeds.npy", "caption_of.npy"])
@pytest.mark.parametrize("kept", [None, 0, 0.5])
def test_a_damaged_cache_is_named(folder, file, kept):
    content = (folder / file).read_bytes()
    (folder / file).unlink()
    if kept is not None:
        (folder / file).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=f"the latent cache {folder} is damaged.*Delete the folder"):
        open_cache(folder)


@pytest.mark.parametrize("file", ["cache.json", "moments.npy", "prompt_embeds.npy", "caption_of.npy"])
def test_a_byte_that_changed_is_noticed(folder, file):
    content = bytearray((folder / file).read_bytes())
    content[content.rindex(b'"') - 1 if file == "cache.json" else -1] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=f"the latent cache {folder} is damaged .*Delete the folder"):
        open_cache(folder)


def test_a_spawned_process_maps_the_files_and_copies_no_latents(folder):
    cache = open_cache(folder)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 1000 < cache.moments.nbytes
    again = pickle.loads(pickled)
    assert isinstance(again.moments, np.memmap)
    assert (again.moments == cache.moments).all()


def test_files_that_do_not_belong_together_are_named(folder):
    (folder / "cache.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        open_cache(folder)
    (folder / "cache.json").write_text(json.dumps({"moments": [8, 8, 8, 8], "unreadable": []}))
    with pytest.raises(UserError, match=r"moments \(7, 8, 8, 8\), expected \[8, 8, 8, 8\]"):
        open_cache(folder)
    (folder / "cache.json").write_text(json.dumps({"moments": [7, 8, 8, 8], "unreadable": []}))
    np.save(folder / "caption_of.npy", np.array([0, 1, 2, 3, 4, 0, 0]))
    with pytest.raises(UserError, match="4 captions"):
        open_cache(folder)


@pytest.mark.parametrize("captions", [[0] * 6, [[0] * 7], [0] * 6 + [-1], [0] * 6 + [4]])
def test_captions_that_are_not_of_the_images_are_named(folder, captions):
    np.save(folder / "caption_of.npy", np.array(captions))
    record = json.loads((folder / "cache.json").read_text())
    write_json(folder / "cache.json", {"moments": record["moments"], "unreadable": []})  # without digests
    with pytest.raises(UserError, match="captioned images"):
        open_cache(folder)


@pytest.mark.parametrize("memo", ["[]", "7", "{", '{"PATH": 7}', '{"PATH": [1, "a", 2]}', '{"PATH": null}'])
def test_a_damaged_memo_of_digests_is_written_anew(tmp_path, memo):
    file, digests = tmp_path / "a.png", tmp_path / "digests.json"
    file.write_text("content")
    digests.write_text(memo.replace("PATH", str(file)))
    assert file_digests([str(file)], digests) == [hashlib.sha256(b"content").hexdigest()]
    assert list(json.loads(digests.read_text())) == [str(file)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["in the images", "in the captions"])
def test_an_interrupted_build_leaves_nothing(vae, tmp_path, error, where):
    def interrupt(*_):
        raise error

    with pytest.raises(error):
        build_cache(
            tmp_path / "key",
            read=read,
            captions=CAPTIONS,
            vae=vae,
            encode=interrupt if where == "in the captions" else encode,
            on_images=interrupt if where == "in the images" else lambda n: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_no_readable_image_is_no_cache(vae, tmp_path):
    def none(places) -> ReadImages:
        lost = [Problem("unreadable", "", None, f"image {k} is odd") for k in places]
        return ReadImages(IMAGES[:0], np.empty(0, np.int64), lost)

    with pytest.raises(UserError, match="none of the 7 images can be read: image 0 is odd"):
        build_cache(tmp_path / "key", read=none, captions=CAPTIONS, vae=vae, encode=encode)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_of_a_faster_process_is_taken(folder, vae, tmp_path):
    before = (folder / "moments.npy").stat()
    cache = build_cache(folder, read=read, captions=CAPTIONS, vae=vae, encode=encode)
    assert len(cache.moments) == 7
    assert (folder / "moments.npy").stat() == before
    assert list(tmp_path.iterdir()) == [folder]
