"""Rows of a conditioning keep their hidden states and their pooled vector together."""

from __future__ import annotations

import torch

from latentpath.diffusion.conditioning import Conditioning, concatenate

HIDDEN, POOLED = torch.arange(24.0).view(4, 3, 2), torch.arange(20.0).view(4, 5)


def same(one: Conditioning, hidden: torch.Tensor, pooled: torch.Tensor | None) -> bool:
    if pooled is None:
        return one.pooled is None and torch.equal(one.hidden, hidden)
    return one.pooled is not None and torch.equal(one.hidden, hidden) and torch.equal(one.pooled, pooled)


def test_rows_are_taken_from_both_parts():
    both = Conditioning(HIDDEN, POOLED)
    assert len(both) == 4
    assert same(both[[2, 0, 2]], HIDDEN[[2, 0, 2]], POOLED[[2, 0, 2]])
    assert same(both[torch.tensor([3])], HIDDEN[3:], POOLED[3:])
    assert same(Conditioning(HIDDEN)[[1]], HIDDEN[[1]], None)


def test_a_blend_blends_both_parts():
    first, second = Conditioning(HIDDEN, POOLED), Conditioning(HIDDEN.flip(0), POOLED.flip(0))
    blend = first.map(lambda a, b: 0.25 * a + 0.75 * b, second)
    assert same(blend, 0.25 * HIDDEN + 0.75 * HIDDEN.flip(0), 0.25 * POOLED + 0.75 * POOLED.flip(0))


def test_joined_rows_stand_in_their_order():
    both = Conditioning(HIDDEN, POOLED)
    assert same(concatenate([both[[3]], both[:3]]), HIDDEN[[3, 0, 1, 2]], POOLED[[3, 0, 1, 2]])


def test_a_unet_gets_the_pooled_vector_and_the_size_only_where_there_is_one():
    assert list(Conditioning(HIDDEN).unet_arguments()) == ["encoder_hidden_states"]
    half = Conditioning(HIDDEN, POOLED, 64).to("cpu", torch.float16)
    arguments = half.map(lambda part: 2 * part)[[3, 0]].unet_arguments()
    assert arguments["encoder_hidden_states"].dtype == torch.float16
    added = arguments["added_cond_kwargs"]
    assert torch.equal(added["text_embeds"], 2 * POOLED[[3, 0]].half())
    assert added["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]] * 2  # a blend does not blend the size
    assert added["time_ids"].dtype == torch.float16
