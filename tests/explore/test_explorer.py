"""Edits by hand: those of the sweep, at the cost of the suffix, with a message where something is missing."""

from __future__ import annotations

import shutil
from threading import Thread

import pytest
import torch

from latentpath.errors import UserError
from latentpath.explore.explorer import Choice
from latentpath.explore.opening import open_run

N = 6
GUIDED = 2  # rows of the U-Net for a step with guidance


@pytest.mark.parametrize(
    ("choice", "key"),
    [
        (Choice("NV", "hair", "swap", 1, 2), {"method": "swap", "swap_step": 2, "attribute": "hair"}),
        (Choice("NV", "ink", "swap", 1, 0), {"method": "swap", "swap_step": 0, "attribute": "ink"}),
        (Choice("NV", "ink", "removal", 1, 4), {"method": "removal", "swap_step": 4, "attribute": "ink"}),
        (
            Choice("NV", "hair", "swap", 1, 2, dial=0.5),
            {"method": "strength", "swap_step": 2, "attribute": "hair"},
        ),
        (Choice("NV", "hair", "contrast", 1, 2), {"method": "contrast", "swap_step": 2, "attribute": "hair"}),
        (Choice("NV", "ink", "fcfg", 1, 4), {"method": "fcfg", "swap_step": 4, "attribute": "ink"}),
        (Choice("NV", "ink", "sega", 1, 2), {"method": "sega", "swap_step": 2, "attribute": "ink"}),
        (Choice("NV", "ink", "leditspp", 1, 2), {"method": "leditspp", "swap_step": 2, "attribute": "ink"}),
        (Choice("NV", "ink", "p2p", 1, 0), {"method": "p2p", "swap_step": 0, "attribute": "ink"}),
        (Choice("NV", "ink", "slider", 1, 2), {"method": "slider", "swap_step": 2, "attribute": "ink"}),
        (Choice("NV", "ink", "hspace", 1, 2), {"method": "hspace", "swap_step": 2, "attribute": "ink"}),
        (
            Choice("NV", "ink", "masked-swap", 1, 2),
            {"method": "masked-swap", "swap_step": 2, "attribute": "ink"},
        ),
        (Choice("NV", "hair", "sdedit", 1, 4), {"method": "sdedit", "swap_step": 4, "attribute": "hair"}),
        (Choice("NV", "hair", "swap", 1, N), {"method": "neutral"}),
    ],
    ids=lambda given: getattr(given, "method", None) or "key",
)
def test_an_edit_is_that_of_the_sweep(explorer, finished, stored, choice, key):
    expected = stored(finished, **{"class": "NV", "seed": 1}, **key)
    _, latents, _ = explorer.sample(choice)
    torch.testing.assert_close(
        latents[0], expected, atol=2e-3, rtol=2e-3
    )  # shards are stored in half precision


def test_a_move_costs_the_suffix_alone(explorer):
    def rows(**choice):
        return explorer.edit(Choice("NV", choice.pop("attribute", "hair"), **choice)).rows / GUIDED

    assert rows(swap_step=2) == N + N - 2  # the trunk, and the edit
    for step in range(N + 1):
        assert rows(swap_step=step) == N - step
    assert rows(attribute="ink", swap_step=4) == 2  # another attribute, the same trunk
    assert rows(method="contrast", swap_step=3) == 3  # another method as well
    assert rows(swap_step=0, dial=0) == 0  # the neutral prompt itself
    assert rows(seed=1, swap_step=4) == N + 2
    assert rows(method="removal", swap_step=3) == N + N - 3  # from another trunk


def test_without_an_edit_nothing_differs_and_the_judge_says_the_same(explorer):
    edit = explorer.edit(Choice("NV", "hair", swap_step=N))
    assert torch.equal(edit.origin, edit.image) and edit.before == edit.after
    assert set(edit.after) == {"hair", "ink", "MEL", "NV"}
    strong = explorer.edit(Choice("NV", "hair", swap_step=0, dial=2))
    assert not torch.equal(strong.origin, strong.image)


def test_old_trunks_are_dropped(explorer, monkeypatch):
    monkeypatch.setattr("latentpath.explore.explorer.TRUNKS", 2)
    for seed in (0, 1, 2):
        explorer.edit(Choice("NV", "hair", seed=seed, swap_step=N))
    assert [seed for _, seed, _ in explorer.trunks] == [1, 2]


def test_users_at_the_same_time_get_their_own_edits(explorer):
    choices = [Choice(cls, "hair", seed=seed, swap_step=3) for cls in ("NV", "MEL") for seed in (0, 1)]
    alone = [explorer.edit(choice).image for choice in choices]
    together = {}
    threads = [Thread(target=lambda c=c: together.update({c: explorer.edit(c).image})) for c in choices * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[choice], image) for choice, image in zip(choices, alone, strict=True))


def test_moves_of_a_mask_share_its_map(explorer):
    def rows(**choice):
        return explorer.edit(Choice("NV", "hair", "masked-swap", **choice)).rows

    explorer.edit(Choice("NV", "hair", swap_step=N))
    assert rows(swap_step=4, dial=0.5) == 2 * 10 + 2 * GUIDED
    assert rows(swap_step=4, dial=0.2) == 2 * GUIDED and rows(swap_step=N, dial=0.2) == 0


def test_a_direction_is_found_once_for_a_class_and_attribute(explorer):
    def rows(**choice):
        return explorer.edit(Choice("NV", "hair", "hspace", **choice)).rows

    explorer.edit(Choice("NV", "hair", swap_step=N))
    assert rows(swap_step=4, dial=3) == 2 * N * (2 + 2) + 2 * 3
    assert rows(swap_step=4, dial=5) == 2 * 3
    explorer.edit(Choice("NV", "hair", seed=1, swap_step=N))
    assert rows(swap_step=3, seed=1) == 3 * 3


def test_a_slider_is_off_again_for_the_next_edit(explorer):
    choice = Choice("NV", "hair", swap_step=2)
    before = explorer.edit(choice).image
    explorer.edit(Choice("NV", "hair", "slider", swap_step=2, dial=50))
    assert torch.equal(explorer.edit(choice).image, before)


def test_every_method_that_is_offered_edits(explorer):
    assert {"slider", "masked-swap", "sdedit", "p2p", "leditspp", "hspace"} <= explorer.methods.keys()
    for name in explorer.methods:
        edit = explorer.edit(Choice("NV", "hair", name, swap_step=2))
        assert not torch.equal(edit.origin, edit.image), name


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice("NVV", "hair"), "no class 'NVV'. Did you mean 'NV'?"),
        (Choice("NV", "hare"), "no attribute 'hare'. Did you mean 'hair'?"),
        (Choice("NV", "hair", "contrats"), "no method 'contrats'. Did you mean 'contrast'?"),
        (Choice("NV", "hair", "sdedit", upload="mine"), "fresh noise .* remove the upload"),
        (Choice("NV", "hair", swap_step=7), r"the swap step is 7, expected 0\.\.6"),
    ],
)
def test_a_choice_that_the_run_does_not_have_is_refused(explorer, choice, words):
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        explorer.edit(choice)


def test_a_run_that_lacks_a_stage_says_which(finished, tmp_path):
    run_dir = tmp_path / "copy"
    with pytest.raises(UserError, match=r"copy has neither a sweep.*latentpath explore"):
        open_run(run_dir)
    shutil.copytree(finished / "traverse", run_dir / "traverse")
    with pytest.raises(UserError, match=r"copy has no fine-tuned model, expected .*pipeline.*latentpath run"):
        open_run(run_dir)
    config = run_dir / "traverse" / "config.yaml"
    (run_dir / "traverse" / "manifest.json").unlink()  # which holds the digest of the file
    config.write_text((whole := config.read_text()) + "gone_setting: 1\n")
    with pytest.raises(UserError, match=r"other settings .*gone_setting.*overwrite=true"):
        open_run(run_dir)
    config.write_text(whole)
    shutil.copytree(finished / "finetune", run_dir / "finetune")
    opened = open_run(run_dir)
    assert "slider" not in opened.methods  # none is trained
    unjudged = opened.edit(Choice("NV", "hair", swap_step=5))
    assert unjudged.before == unjudged.after == {}
