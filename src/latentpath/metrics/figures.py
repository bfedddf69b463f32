"""All figures that a run reports, each described once: key, label, definition, range.

The tables of the page and of the terminal, their tooltips and the experiment trackers read the names here.
CFRT is the Classifier Flip Rate along a Trajectory; `metrics.cfrt` has its formulas.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """The description of a figure.

    key          its name in figures.parquet and in the columns of tables
    label        its heading in tables
    definition   one sentence
    better       which way is better; '' where neither is
    range        the least and the greatest value, or infinity
    digits       decimals that are shown
    """

    key: str
    label: str
    definition: str
    better: Literal["higher", "lower", ""] = ""
    range: tuple[float, float] = (0.0, 1.0)
    digits: int = 2

    @property
    def heading(self) -> str:
        """The label with an arrow in the better direction."""
        return self.label + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]


_STRONG = "on the strong end of the trajectories"
CFRT = (
    Figure(
        "cfrt_strict",
        "CFRT, strict",
        f"Share of images {_STRONG} on which the attribute’s score changes more than it does under a swap to "
        "any other attribute, while the class and all other attributes keep their decision: CFRT as on the "
        "paper’s poster.",
        "higher",
    ),
    Figure(
        "all_strict",
        "strict and flip",
        "Share of images that fulfil the strict CFRT and on which the attribute newly appears.",
        "higher",
    ),
    Figure(
        "cfrt_released",
        "CFRT, released",
        f"Share of seeds in which the attribute’s score rises more, {_STRONG}, than the score of every other "
        "attribute on the same images: CFRT as in the paper’s released code.",
        "higher",
    ),
    Figure(
        "all_released",
        "released, flip and kept",
        "Share of images whose seed fulfils the released CFRT, on which the attribute newly appears and the "
        "class and all other attributes keep their decision.",
        "higher",
    ),
    Figure(
        "flipped",
        "flip rate",
        "Share of images that show the attribute while the neutral image of their seed does not.",
        "higher",
    ),
    Figure(
        "flipped_eligible",
        "flip rate, eligible",
        "Share of images that show the attribute, of the seeds whose neutral image does not show it: unlike "
        "the flip rate it can reach 1.",
        "higher",
    ),
    Figure(
        "dominant_heads",
        "dominance, heads",
        "Share of seeds in which no other attribute’s score rises as much on the same images.",
        "higher",
    ),
    Figure(
        "dominant_images",
        "dominance, swaps",
        "Share of images on which the attribute’s score changes more than under any other attribute’s swap.",
        "higher",
    ),
    Figure(
        "class_kept",
        "class kept",
        "Share of images with the same class decision as the neutral image of their seed.",
        "higher",
    ),
    Figure(
        "others_kept",
        "others kept",
        "Share of images on which every other attribute is decided as on the neutral image of their seed.",
        "higher",
    ),
    Figure(
        "already_present",
        "present before",
        "Share of seeds whose neutral image already shows the attribute, so that it cannot flip.",
    ),
)
_INFINITE = (0.0, float("inf"))
FIGURES = {
    figure.key: figure
    for figure in (
        *CFRT,
        Figure(
            "selectivity",
            "selectivity",
            "How much more often the attribute’s score rises most under its own edit than under edits toward "
            "other attributes: 0 for a head that always, or never, rises most.",
            "higher",
            (-1.0, 1.0),
        ),
        Figure(
            "selectivity_p",
            "p of selectivity",
            "Probability of a selectivity as high if all edits of a seed did the same, by an exact "
            "permutation test.",
            "lower",
            digits=4,
        ),
        Figure(
            "released_null",
            "released, other edits",
            "Share of seeds in which the attribute’s score rises most although another attribute was asked "
            "for: the zero that its released CFRT is to be read against.",
            "lower",
        ),
        Figure(
            "effectiveness",
            "effect over placebo",
            "Share of images that show the attribute after its edit, less the share after a placebo: a swap "
            "to a paraphrase of the neutral prompt at the same step.",
            "higher",
            (-1.0, 1.0),
        ),
        Figure(
            "leak",
            "leak over placebo",
            "Share of the other decisions, about attributes and the class, that differ from the neutral "
            "image after the edit, less the share after a placebo.",
            "lower",
            (-1.0, 1.0),
        ),
        Figure(
            "others_changed",
            "others changed",
            "Share of the other decisions, about attributes and the class, that differ from the neutral "
            "image.",
            "lower",
        ),
        Figure(
            "placebo_changed",
            "others changed by a placebo",
            "Share of the same decisions that differ after a placebo: what any swap changes, whatever it "
            "asks for.",
            "lower",
        ),
        Figure(
            "mnac",
            "MNAC",
            "Mean number of attributes whose decision an edit changes, its own included: 1 is what a "
            "faithful edit gives, 0 an edit without effect.",
            "",
            _INFINITE,
        ),
        Figure(
            "dominant_absolute",
            "dominance, up or down",
            "Share of images on which the attribute’s score moves further, up or down, than the score of "
            "every other attribute on the same image: another reading of CFRT’s first condition.",
            "higher",
        ),
        Figure(
            "class_match",
            "class as asked",
            "Share of neutral images that the judge takes for the class of their prompt.",
            "higher",
        ),
        Figure(
            "direction_named",
            "direction names the attribute",
            "Share of seeds whose direction from the neutral latent is nearest to the mean direction that "
            "the other seeds take toward the same attribute.",
            "higher",
        ),
        Figure(
            "direction_null",
            "named by chance",
            "The share of seeds rightly named if the attributes of each seed's directions are exchanged.",
        ),
        Figure(
            "direction_p",
            "p of the naming",
            "Probability of as many rightly named if the attributes of each seed's directions are exchanged.",
            "lower",
            digits=4,
        ),
        Figure(
            "front_area",
            "area under the front",
            "Mean over leaks from 0 to 0.2 of the largest effect that the settings of a method reach: 1 "
            "always brings the attribute in and changes nothing else.",
            "higher",
            digits=3,
        ),
        Figure(
            "sensitivity",
            "sensitivity",
            "Share of held-out images with the attribute, after the VAE, in which the judge sees it.",
            "higher",
        ),
        Figure(
            "specificity",
            "specificity",
            "Share of held-out images without the attribute, after the VAE, in which the judge sees none.",
            "higher",
        ),
        Figure(
            "present_corrected",
            "share, corrected",
            "Share of images with the attribute, corrected for the judge’s sensitivity and specificity on "
            "held-out images (Rogan and Gladen).",
        ),
        Figure(
            "present_human",
            "share, human labels",
            "Share of images with the attribute, from human labels of some images and the judge’s decisions "
            "on the others (prediction-powered).",
        ),
        Figure(
            "human_agreement",
            "agreement with humans",
            "Share of the images that a human labelled on which the judge decides as the human did.",
            "higher",
        ),
        Figure("present", "share of seeds", "Share of images on which the attribute is present."),
        Figure("absent", "share without", "Share of images on which the attribute is absent."),
        Figure("probability", "mean probability", "Mean probability of the attribute."),
        Figure(
            "others_probability",
            "others, mean probability",
            "Mean probability of the other attributes, which should stay flat.",
        ),
        Figure("distance", "distance of latents", "L2 distance to the neutral latent.", "", _INFINITE),
        Figure(
            "cosine_strongest",
            "to the strongest swap",
            "Cosine between the directions from the neutral latent to this one and to the strongest swap’s.",
            "",
            (-1, 1),
        ),
        Figure(
            "cosine_weakest",
            "to the weakest swap",
            "Cosine between the directions from the neutral latent to this one and to the weakest swap’s.",
            "",
            (-1, 1),
        ),
        Figure(
            "cosine_next",
            "to the next step",
            "Cosine between the step of the path that ends here and the next one; 1 is straight on.",
            "",
            (-1, 1),
        ),
        Figure(
            "path_over_chord",
            "path over chord",
            "Length of the path over the distance of its ends; 1 is a straight line.",
            "",
            (1.0, float("inf")),
        ),
        Figure(
            "curvature",
            "curvature, degrees",
            "Mean turn from step to step: 0 is straight, 120 what unrelated images give.",
            "",
            (0.0, 180.0),
            0,
        ),
    )
}
