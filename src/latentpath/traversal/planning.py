"""Makes the plan of a sweep from the configuration, and describes its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentpath.config.methods import MethodsConfig
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
from latentpath.runs.files import Json
from latentpath.traversal.cost import Work, composition_work, cost_of, inversion_work, search_work
from latentpath.traversal.methods import chosen
from latentpath.traversal.methods.own import Own
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.words import Spell


def plan_of(
    dataset: DatasetConfig,
    attribute: AttributeConfig,
    timesteps: TimestepsConfig,
    sampler: SamplerConfig,
    method: MethodsConfig,
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
        orders=[(first, second) for first, second in attribute.orders],
        guidance_scale=sampler.guidance_scale,
        negative_prompt=sampler.negative_prompt,
        placebo=None if method.placebo is None else method.placebo.caption,
        methods=chosen(method) | _own(attribute, plugins),
        one_step_late=timesteps.one_step_late,
        scale=attribute.strength_by.value == "scale",
    )


def _own(attribute: AttributeConfig, plugins: Sequence[str]) -> dict[str, dict[float, Spell]]:
    """Load the user's own methods: name -> dial -> what it spells. One without dials has the strength 1."""
    found: dict[str, dict[float, Spell]] = {}
    for reference in attribute.methods:
        name, function = reference.partition(":")[2], load("attribute.methods", reference, plugins)
        dials = attribute.dials.get(name, [])
        found[name] = {dial: Own(name, function, dial) for dial in dials} or {1: Own(name, function)}
    return found


def _work_besides(plan: SweepPlan, timesteps: TimestepsConfig, inversion: InversionConfig) -> Work:
    """Return the work outside the walk of `plan`: of inverting images, or of the search for flip points."""
    if inversion.method is not None:
        return inversion_work(plan, inversion) + composition_work(plan, inversion)
    return search_work(plan, timesteps.swap_steps, checks=timesteps.checks) if timesteps.bisect else Work()


def describe_cost(
    plan: SweepPlan,
    model: BaseModel,
    *,
    image_size: int,
    sampler: SamplerConfig,
    timesteps: TimestepsConfig,
    inversion: InversionConfig,
    seconds_per_row: float | None = None,
) -> list[str]:
    """Describe a sweep and its cost in images, U-Net calls, FLOP, time and disk space, as lines of text."""
    cost = cost_of(
        plan,
        latent_shape=model.latent_shape(image_size),
        besides=_work_besides(plan, timesteps, inversion),
        flop_per_row=model.flop_per_row(image_size),
        seconds_per_row=seconds_per_row,
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


def describe(plan: SweepPlan) -> Json:
    """Return the content of plan.json, which later stages read."""
    swaps = [b for b in plan.branches if b.method == "swap"]
    first = {b.attribute: b for b in plan.branches if b.method in ("swap", "combination", "placebo")}
    methods = list(dict.fromkeys(b.method for b in plan.branches))
    of = {m: tuple(b for b in plan.branches if b.method in ("neutral", m)) for m in methods[1:]}
    plans = {m: replace(plan, branches=branches) for m, branches in of.items()}
    alone = {m: round(own.unet_rows / own.samples) for m, own in plans.items()}
    return {
        "classes": list(plan.classes),
        "attributes": list(dict.fromkeys(b.attribute for b in swaps)),
        "methods": methods,
        "swap_steps": sorted({b.swap_step for b in swaps}),
        "num_inference_steps": plan.num_inference_steps,
        "seeds": list(plan.seeds),
        "one_step_late": plan.one_step_late,
        "unet_calls": plan.unet_calls,
        "unet_rows": plan.unet_rows,
        "images": plan.images,
        "calls_per_seed": plan.calls_per_seed,
        "plain_calls_per_seed": plan.plain_calls_per_seed,
        "rows_per_seed": plan.rows_per_seed,
        "rows_per_seed_alone": alone,
        "neutral_prompts": {c: plan.text(c, plan.branches[0]) for c in plan.classes},
        "target_prompts": {
            f"{c}/{name}": plan.text(c, branch) for c in plan.classes for name, branch in first.items()
        },
    }
