# %% [markdown]
# # Reading a run in pandas
#
# A run is a folder of plain files: tables in parquet and CSV, latents in safetensors, one HTML page. This page reads the run `demo`, made small
# so that it is quick; [Artefacts](../commands.md) lists the files.
#
# ## One row per image

# %%
import pandas as pd

scores = pd.read_parquet("outputs/demo/evaluate/scores.parquet")
scores.query("method == 'swap' and attribute == 'hair' and seed == 0 and model == 'finetuned'")[
    ["class", "swap_step", "prob_hair", "prob_ink", "class_prob_NV", "l1"]
]

# %% [markdown]
# `swap_step` says when the target prompt came in: 0 is the strongest edit. The columns `prob_...` are what the judge saw. A flip curve is one line:

# %%
hair = scores.query("method == 'swap' and attribute == 'hair' and model == 'finetuned'")
hair.groupby(["class", "swap_step"])["prob_hair"].mean().unstack()

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(5, 3))
for cls, of_class in hair.groupby("class"):
    axes.plot(
        *zip(*of_class.groupby("swap_step")["prob_hair"].mean().items(), strict=True), marker="o", label=cls
    )
axes.set(xlabel="swap step", ylabel="probability of hair", ylim=(0, 1))
axes.legend()
figure.tight_layout()
plt.close(figure)
figure

# %% [markdown]
# ## One row per figure
#
# The mean over classes and attributes has an empty class and attribute. `reason` says why a figure is undefined.

# %%
figures = pd.read_parquet("outputs/demo/evaluate/figures.parquet")
means = figures.query("method == 'swap' and position.isna() and model == 'finetuned'")
means = means[means["class"].isna() | (means["class"] == "")]
means[["figure", "value", "low", "high", "n"]].head(12).reset_index(drop=True)

# %% [markdown]
# ## Latents
#
# `index.parquet` says in which shard the latents of an image are. Decode them with the VAE of the run.

# %%
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

import latentpath as lp

run = Path("outputs/demo")
index = pd.read_parquet(run / "traverse" / "index.parquet")
wanted = index.query("`class` == 'NV' and seed == 0 and (method == 'neutral' or attribute == 'hair')")
shard = next(iter(load_file(run / "traverse" / "shards" / Path(wanted["shard"].iloc[0]).name).values()))
latents = shard[wanted["row"].to_list()].float()
images = lp.decode(lp.load_model(str(run / "finetune" / "pipeline")).vae(), latents)
strip = torch.cat(list((images + 1) / 2 * 255), dim=2).round().to(torch.uint8)
Image.fromarray(strip.permute(1, 2, 0).numpy()).resize((128 * len(images), 128))
