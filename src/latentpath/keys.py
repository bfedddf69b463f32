"""The vocabulary of all tables: the columns that identify an image of a run, and the names of the methods.

An image is identified by the columns of IMAGE_KEY:

    class, seed      the class in its prompt, and the seed of its noise
    attribute        what the edit adds or removes: `hair`, or `hair+ruler` for both; NEUTRAL for none
    method           how it was made: one of METHODS, one of INTERPOLATIONS, another method of the config
                     group `method` (`latentpath.traversal.methods`), or a method of a plugin
    swap_step        first step_index that uses the target prompt, 0..N; empty for a frame of an interpolation
    until            first step_index that uses the source prompt again, N = never; empty for a frame
    strength         the dial of the method; 1 is the target prompt itself, and stands where there is no dial
    frame            index on an interpolation, 0 = the neutral image; empty for every other image
    model            FINETUNED or BASE
"""

from collections.abc import Iterable

IMAGE_KEY = ["class", "seed", "attribute", "method", "swap_step", "until", "strength", "frame", "model"]
# The columns of a stored latent: a folder holds one model, and interpolations store no latents.
LATENT_KEY = [column for column in IMAGE_KEY if column not in ("frame", "model")]
# The columns of an edit, regardless of the seed.
EDIT_KEY = [column for column in LATENT_KEY if column != "seed"]
# Integer columns that may be empty, as pandas' Int64.
NULLABLE = dict.fromkeys(("swap_step", "until", "frame"), "Int64")

NEUTRAL = ""  # the attribute of a neutral image
JOIN = "+"  # between the attributes of a combination

# neutral: the neutral prompt in all steps. swap: the target prompt from swap_step on. combination: a target
# with several attributes. strength: a weaker or stronger target. window: the target in steps
# swap_step..until-1. order: the first attribute in those steps, both from until on. present: the target
# prompt in all steps. removal: the target prompt, then the neutral one from swap_step on.
METHODS = ("neutral", "swap", "combination", "strength", "window", "order", "present", "removal")
ORIGINS = ("neutral", "present")  # unedited images, with which edits are compared

# Curves through the latents of the plain swaps.
INTERPOLATIONS = ("bezier", "cubic", "slerp", "lerp")
TRAJECTORIES = ("swap", *INTERPOLATIONS)  # ways to go from the neutral image to an attribute, weak to strong

# From swap_step on, a paraphrase of the neutral prompt: what any swap does to an image, whatever it asks for.
PLACEBO = "placebo"

LABELLED = "labelled"  # the method of figures about generated images that a human labelled
COMPOSED = "composition"  # a real image inverted and sampled without an edit, `strength` times in a row
HELD_OUT = "held out"  # the method of figures about real images that no model was trained on

FINETUNED, BASE = "finetuned", "base"

# Names that no attribute may have, and what they mean in tables.
RESERVED = {
    "class": "the classifier's head that decides between classes",
    "placebo": "the neutral caption in other words",
    "neutral": "the image without any attribute",
    **dict.fromkeys(("path", "image_id", "cls", "group", "split"), "every data set, whatever it shows"),
}


def position_column(method: str) -> str:
    """Return the column of an image's position on its trajectory: swap step, or frame of a curve."""
    return "swap_step" if method == "swap" else "frame"


def origin_of(method: str, attribute: str) -> str:
    """Return the attribute of the image that an edit starts from: NEUTRAL for all methods except removal."""
    return attribute if method == "removal" else NEUTRAL


def trajectories_in(methods: Iterable[str]) -> list[str]:
    """Return the TRAJECTORIES among `methods`, swaps first."""
    there = set(methods)
    return [method for method in TRAJECTORIES if method in there]
