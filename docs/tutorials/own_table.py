# %% [markdown]
# # A table of your own, to a verdict
#
# You have images and a table that says what each image shows. You want to know whether a diffusion model that is fine-tuned on them can change one
# attribute alone. This page does it on 60 drawn images in a minute; so small a run proves nothing, but every step is the same on your data.
#
# ## The data
#
# A folder of images and a CSV file with one row per image: its file, its patient, and a column of 0 and 1 for each attribute. Here they
# are drawn.

# %%
from pathlib import Path

import pandas as pd

from latentpath.data.phantoms import write_isic2019

root = Path("mine")
write_isic2019(root, count=60, size=32)
drawn = pd.read_csv(root / "isic_inferred_wocarcinoma.csv")
labels = pd.DataFrame(
    {
        "image": drawn["image"] + ".jpg",
        "patient": [f"p{k // 2}" for k in range(len(drawn))],
        "hair": (drawn["hair"] > 0.5).astype(int),
        "ruler": (drawn["ruler"] > 0.5).astype(int),
    }
)
labels.to_csv(root / "labels.csv", index=False)
labels.head()

# %% [markdown]
# ## Look before you train
#
# `info` prints what latentpath sees: counts by split, the captions, and every row that cannot be used.

# %% language="bash"
# latentpath info dataset=image_table dataset.root=mine dataset.table.images_dir=ISIC_2019_Training_Input \
#     dataset.table.group_column=patient 'dataset.attributes=[hair,ruler]' dataset.image_size=32

# %% [markdown]
# ## Run
#
# One command trains the judge, fine-tunes the model, walks the sweep, evaluates and writes the page. The last four lines make it
# small; leave them out for a run that means something, and add `model=sd15 trainer=gpu` where there is a GPU.

# %% language="bash"
# latentpath run name=mine dataset=image_table dataset.root=mine dataset.table.images_dir=ISIC_2019_Training_Input \
#     dataset.table.group_column=patient 'dataset.attributes=[hair,ruler]' dataset.image_size=32 \
#     classifier=efficientnet_tiny 'metric.lpips=[]' \
#     classifier.epochs=2 classifier.batch_size=16 \
#     finetune.max_steps=10 finetune.batch_size=8 \
#     timesteps.num_inference_steps=6 'timesteps.swap_steps=[0,2,4]' sampler.seeds=4 \
#     metric.frames=3 metric.resamples=100 metric.tsne=false metric.compare_base=false > log.txt

# %% [markdown]
# ## The verdict
#
# `figures.parquet` has one row per figure. Read the headline first: selectivity is 0 if the attribute's own edit does no more than other edits,
# and 1 for perfect edits. With four seeds and ten training steps the intervals are wide, as they should be.

# %%
figures = pd.read_parquet("outputs/mine/evaluate/figures.parquet")
headline = ["selectivity", "flipped", "cfrt_released", "cfrt_strict"]
swap = figures.query("method == 'swap' and position.isna() and model == 'finetuned' and figure in @headline")
swap[["attribute", "figure", "value", "low", "high", "n", "reason"]].reset_index(drop=True)

# %% [markdown]
# Then check the judge: a figure is worth as much as the judge's accuracy on held-out patients.

# %%
import json

test = json.loads(Path("outputs/mine/classify/metrics.json").read_text())["test"]
pd.DataFrame(test).T[["accuracy", "auroc", "ece", "count"]]

# %% [markdown]
# `outputs/mine/report/index.html` shows all of it, with the pictures.
