"""The cost of a sweep is computed before it runs, and described in words."""

from __future__ import annotations

from latentpath.config.schema import InversionConfig
from latentpath.data.captions import CaptionTemplate
from latentpath.traversal.cost import Work, composition_work, cost_of
from latentpath.traversal.plan import plan_sweep

CAPTIONS = CaptionTemplate("{cls} {attributes}", "{cls}", {"NV": "nevus"}, {a: a for a in "abcd"})
PAPER = plan_sweep(
    CAPTIONS,
    classes=["NV"],
    attributes=list("abcd"),
    swap_steps=range(5, 50, 5),
    num_inference_steps=50,
    seeds=range(10),
)


def test_calls_flop_time_and_disk_are_those_of_the_plan():
    cost = cost_of(PAPER, latent_shape=(4, 64, 64), flop_per_row=2e12, seconds_per_row=0.5)
    assert (cost.images, cost.calls, cost.plain_calls) == (370, 9500, 18500)
    assert cost.rows == 2 * 9500
    assert cost.flop == 19_000 * 2e12
    assert cost.seconds == 19_000 * 0.5
    assert 370 * 4 * 4 * 64 * 64 < cost.disk_bytes < 370 * (4 * 4 * 64 * 64 + 1000)
    assert cost.lines() == [
        "images        370",
        "U-Net calls   9,500 (one full run per image: 18,500, 1.95 x)",
        "U-Net rows    19,000",
        "FLOP          38.0 P",
        "time          about 2.6 h",
        "disk          24.3 MB",
    ]


def test_calls_besides_the_walk_count_for_both_ways():
    cost = cost_of(PAPER, latent_shape=(4, 8, 8), besides=Work(calls=500, rows=500))
    assert (cost.calls, cost.plain_calls, cost.rows) == (10_000, 19_000, 19_500)
    assert "n/a" in "\n".join(cost.lines())


def test_rounds_of_inversion_cost_an_inversion_and_a_walk_each():
    """DDIM at a guidance of 1 takes one row a step, and sampling again two."""
    inversion = InversionConfig(method="ddim", iterations=3, guidance_scale=1, rounds=4)
    seeds, steps = 10, 50
    assert composition_work(PAPER, inversion) == Work(
        calls=4 * seeds * steps * (3 + 1), rows=4 * seeds * steps * (3 + 2), images=seeds * 5
    )
    assert composition_work(PAPER, InversionConfig(method="ddim")) == Work()
    assert composition_work(PAPER, InversionConfig(rounds=4)) == Work()
