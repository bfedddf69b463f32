# %% [markdown]
# # Comparing two judges
#
# Every figure of a run is what one classifier, the judge, says about images. If a judge with another network says the same about the same images, a figure
# tells something about the images; if it does not, the figure tells something about the judge. This page lets a second judge score the images
# of the run `demo`, and compares the two image by image.
#
# ## The same images, another judge
#
# `from_run=demo` takes each stage from `demo` that has the same configuration. So nothing is fine-tuned or sampled again: only the second judge is trained, and the
# images are scored again. All lines but the first repeat the settings of this small `demo`; after `make demo` the first line is enough, without `dataset.root`.

# %% language="bash"
# latentpath run experiment=demo name=second from_run=demo classifier=resnet_micro dataset.root=phantoms \
#     dataset.phantom.count=120 dataset.phantom.size=64 dataset.image_size=64 \
#     classifier.epochs=3 classifier.batch_size=16 finetune.max_steps=20 finetune.batch_size=8 \
#     sampler.seeds=3 timesteps.num_inference_steps=6 'timesteps.swap_steps=[0,2,4]' \
#     metric.frames=4 metric.resamples=200 metric.examples=2 > log.txt
# grep --before-context 1 'as in demo' log.txt

# %% [markdown]
# ## Is each of them any good?
#
# The accuracy of each on held-out images. A judge that is much worse than the other is no second opinion. In this small run both saw 90 images and are poor,
# as the count and the figures show.

# %%
import json
from pathlib import Path

import pandas as pd

runs = {"demo": Path("outputs/demo"), "second": Path("outputs/second")}
test = {
    name: json.loads((run / "classify" / "metrics.json").read_text())["test"] for name, run in runs.items()
}
pd.concat(
    {name: pd.DataFrame(heads).T[["accuracy", "auroc", "count"]] for name, heads in test.items()}, axis=1
)

# %% [markdown]
# ## Do they agree on an image?
#
# Both tables have one row per image, and the same columns identify it. Cohen's kappa is the agreement of their decisions beyond chance: 1 for always, 0 for as
# often as chance. Without any image in which a judge sees the attribute, it is undefined.

# %%
from sklearn.metrics import cohen_kappa_score

from latentpath.keys import IMAGE_KEY

scores = [pd.read_parquet(run / "evaluate" / "scores.parquet") for run in runs.values()]
both = scores[0].merge(scores[1], on=IMAGE_KEY, suffixes=("_demo", "_second"), validate="one_to_one")
heads = ["hair", "gel_bubble", "ink", "ruler"]
rows = []
for head in heads:
    one, other = both[f"prob_{head}_demo"], both[f"prob_{head}_second"]
    rows.append(
        {
            "attribute": head,
            "images": len(both),
            "demo sees it": (one > 0.5).mean(),
            "second sees it": (other > 0.5).mean(),
            "kappa": cohen_kappa_score(one > 0.5, other > 0.5),
            "rank correlation": one.corr(other, method="spearman"),
        }
    )
pd.DataFrame(rows).set_index("attribute")

# %% [markdown]
# ## Do they agree on the figures?
#
# The means over classes and attributes of the plain swap, with 95 % intervals over seeds. A figure on which the intervals do not overlap depends on the judge: report
# it for both, or not at all.

# %%
figures = {name: pd.read_parquet(run / "evaluate" / "figures.parquet") for name, run in runs.items()}
headline = ["selectivity", "flipped", "cfrt_released", "cfrt_strict"]
means = {
    name: table.query("method == 'swap' and position.isna() and model == 'finetuned' and figure in @headline")
    for name, table in figures.items()
}
means = {name: table[table["class"].isna() & table["attribute"].isna()] for name, table in means.items()}
pd.concat(
    {name: table.set_index("figure")[["value", "low", "high", "n"]] for name, table in means.items()}, axis=1
)

# %% [markdown]
# Both judges scored the same seeds, so a paired comparison is sharper than two intervals: `report compare=[demo,second]` writes the differences seed by seed,
# with one test over all figures, into `outputs/demo/report/compare.html`.

# %% language="bash"
# latentpath report experiment=demo dataset.root=phantoms 'compare=[demo,second]'

# %% [markdown]
# ## Look where they disagree
#
# The images on which the two are furthest apart about hair. If you side with neither, the edit is not what its name says; if always with one, use that judge.

# %%
import torch
from PIL import Image
from safetensors.torch import load_file

import latentpath as lp
from latentpath.keys import LATENT_KEY

edits = both.query("model == 'finetuned' and frame.isna()")
apart = (edits["prob_hair_demo"] - edits["prob_hair_second"]).abs().nlargest(4).index
index = pd.read_parquet(runs["demo"] / "traverse" / "index.parquet")
places = edits.loc[apart].merge(index, on=LATENT_KEY)
shards = {
    name: load_file(runs["demo"] / "traverse" / "shards" / name)["latents"]
    for name in places["shard"].unique()
}
latents = torch.stack(
    [shards[name][row] for name, row in zip(places["shard"], places["row"], strict=True)]
).float()
images = lp.decode(lp.load_model(str(runs["demo"] / "finetune" / "pipeline")).vae(), latents)
sheet = torch.cat(list((images + 1) / 2 * 255), dim=2).round().to(torch.uint8)
Image.fromarray(sheet.permute(1, 2, 0).numpy()).resize((160 * len(images), 160))

# %%
places[["class", "attribute", "method", "swap_step", "seed", "prob_hair_demo", "prob_hair_second"]]

# %% [markdown]
# Both judges were trained on the same images, so they may share a mistake, such as a label that stands for something else. Agreement is therefore necessary, not
# sufficient. [What the figures mean](../figures.md#the-judge) says how the figures account for a judge's own errors.
