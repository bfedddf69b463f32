# %% [markdown]
# # Adding a method
#
# A method says which prompt each step of the reverse diffusion uses. The plain swap uses the neutral prompt before the swap step and the target prompt from there
# on. This page writes another method, walks it beside the swap, and looks at both. To use a method in a run, put it into a file of
# yours and name it in `attribute.methods`: [Extending latentpath](../extending.md) shows that.
#
# ## A function
#
# It gets the two captions and returns one prompt per step: a text, a blend of two, or a mix of several, `{prompt: weight}`.

# %%
from latentpath.traversal.words import blend


def ramp(neutral, target, *, swap_step, num_inference_steps):
    """Bring the target in over three steps instead of at once."""
    strengths = [(step - swap_step + 1) / 3 for step in range(num_inference_steps)]
    return [blend(neutral, target, min(max(strength, 0), 1)) for strength in strengths]


for prompt in ramp("a nevus", "a nevus with hair", swap_step=2, num_inference_steps=6):
    print(prompt)

# %% [markdown]
# ## A plan with it
#
# The plan holds every image as its sequence of prompts. Steps that images have in common are computed once, for your method as well.

# %%
import latentpath as lp

captions = lp.CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls}",
    {"NV": "melanocytic nevus (NV)"},
    {"hair": "hair"},
)
plan = lp.plan_sweep(
    captions,
    classes=["NV"],
    attributes=["hair"],
    swap_steps=[0, 4, 8],
    num_inference_steps=12,
    seeds=[3],
    guidance_scale=3.0,
    methods={"ramp": ramp},
)
print(
    f"{plan.calls_per_seed} U-Net calls for {len(plan.branches)} images, instead of {plan.plain_calls_per_seed}"
)

# %% [markdown]
# ## Walk and look
#
# `phantom-sd` is the base model that ships. The upper row is the swap, the lower row the ramp, weak to strong; the neutral image comes first.

# %%
import torch
from PIL import Image

model = lp.load_model("phantom-sd")
sampler = lp.build_sampler(plan, model, image_size=64)
leaves, latents = lp.walk(plan, sampler, cls="NV", seeds=plan.seeds)
images = dict(
    zip(
        [(leaf.branch.method, leaf.branch.swap_step) for leaf in leaves],
        lp.decode(model.vae(), latents),
        strict=True,
    )
)
rows = [[("neutral", 12), *((method, step) for step in (8, 4, 0))] for method in ("swap", "ramp")]
sheet = torch.cat([torch.cat([images[key] for key in row], dim=2) for row in rows], dim=1)
Image.fromarray(((sheet + 1) / 2 * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()).resize((512, 256))

# %% [markdown]
# ## Is it any good?
#
# Score both with a judge, and compare at equal effect: a method that changes the attribute less also changes other things less. A run does this
# for every seed: `latentpath run experiment=demo plugins=[my_module] attribute.methods=[my_module:ramp]` writes both into
# `evaluate/scores.parquet` and onto the page.
