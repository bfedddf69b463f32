"""Makes the plan of a sweep from the configuration, and describes its cost."""

from __future__ import annotations

from collections.abc import Sequence

from latentpath.config.plugins import load
from latentpath.config.schema import (
    AttributeConfig,
    DatasetConfig,
    InversionConfig,
    SamplerConfig,
    TimestepsConfig,
)
from latentpath.data.captions import caption_template
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import unet_flops
from latentpath.traversal.cost import cost_of, inversion_calls, search_calls
from latentpath.traversal.plan import SweepPlan, plan_sweep


def plan_of(
    dataset: DatasetConfig,
    attribute: AttributeConfig,
    timesteps: TimestepsConfig,
    sampler: SamplerConfig,
    *,
    plugins: Sequence[str] = (),
) -> SweepPlan:
    """Build the plan from these sections of the configuration; `attribute.methods` are of modules `plugins`.

    With `timesteps.bisect` the only plain swap is the strongest one; the search samples the others.
    """
    steps = timesteps.swap_steps
    return plan_sweep(
        caption_template(dataset.captions, dataset.classes, dataset.attributes),
        classes=dataset.classes,
        attributes=attribute.names,
        swap_steps=[min(steps)] if timesteps.bisect else list(steps),
        num_inference_steps=timesteps.num_inference_steps,
        seeds=range(sampler.first_seed, sampler.first_seed + sampler.seeds),
        combinations=attribute.combinations,
        removal=attribute.removal,
        strengths=attribute.strengths,
        windows=[(s, r) for s, r in timesteps.windows],
        methods={
            name.partition(":")[2]: load("attribute.methods", name, plugins) for name in attribute.methods
        },
        one_step_late=timesteps.one_step_late,
        scale=attribute.strength_by.value == "scale",
    )


def calls_besides(plan: SweepPlan, timesteps: TimestepsConfig, inversion: InversionConfig) -> int:
    """Return the U-Net calls outside the walk of `plan`: of the inversion or the search for flip points."""
    if inversion.method is not None:
        return inversion_calls(plan, inversion)
    return search_calls(plan, timesteps.swap_steps, checks=timesteps.checks) if timesteps.bisect else 0


def describe_cost(
    plan: SweepPlan,
    model: BaseModel,
    *,
    image_size: int,
    sampler: SamplerConfig,
    timesteps: TimestepsConfig,
    inversion: InversionConfig,
    seconds_per_call: float | None = None,
) -> list[str]:
    """Describe a sweep and its cost in images, U-Net calls, FLOP, time and disk space, as lines of text."""
    shape = model.latent_shape(image_size)
    guided = 1 if sampler.guidance_scale == 1 else 2
    cost = cost_of(
        plan,
        latent_shape=shape,
        calls_besides=calls_besides(plan, timesteps, inversion),
        flop_per_call=guided * unet_flops(model.unet_config(), shape, model.context_shape()),
        seconds_per_call=seconds_per_call,
    )
    lines = [
        f"sweep: {len(plan.classes)} classes x {len(plan.branches)} images x {len(plan.seeds)} seeds, "
        f"{plan.num_inference_steps} steps of {sampler.solver}; "
        f"{plan.calls_per_seed} U-Net calls per seed and class, one by one {plan.plain_calls_per_seed}",
        *cost.lines(),
    ]
    if timesteps.bisect:
        lines.append(
            "bisect        the calls of the search are an estimate, for flips anywhere; to walk every swap "
            f"step would take {plan.plain(timesteps.swap_steps).unet_calls:,}"
        )
    return lines
