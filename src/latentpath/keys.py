"""What identifies an image of a run, and the names of the ways to make one: the vocabulary of all tables.

An image is identified by the columns of IMAGE_KEY:

    class, seed      the class in its prompt, and the seed of its noise
    attribute        what the edit adds or removes: `hair`, of a combination `hair+ruler`; NEUTRAL for none
    method           how it was made: one of METHODS, or one of INTERPOLATIONS
    swap_step        first step_index that uses the target prompt, 0..N; empty for a frame of an interpolation
    until            first step_index that uses the source prompt again, N = never; empty for a frame
    strength         1 is the target prompt itself
    frame            place on an interpolation, 0 = the neutral image; empty for every other image
    model            FINETUNED or BASE
"""

from collections.abc import Iterable

IMAGE_KEY = ["class", "seed", "attribute", "method", "swap_step", "until", "strength", "frame", "model"]
# A latent that `traverse` stored: one folder holds one model, and an interpolation stores no latents.
LATENT_KEY = [column for column in IMAGE_KEY if column not in ("frame", "model")]
# An edit, whatever the seed.
EDIT_KEY = [column for column in LATENT_KEY if column != "seed"]
# Integers that may be empty: pandas' Int64.
NULLABLE = dict.fromkeys(("swap_step", "until", "frame"), "Int64")

NEUTRAL = ""  # the attribute of a neutral image
JOIN = "+"  # between the attributes of a combination

# The neutral image; the target prompt from swap_step on; several attributes at once; a target that is weaker
# or stronger than its prompt; the target only for a while; an image that has the attribute; and that image
# with the neutral prompt from swap_step on.
METHODS = ("neutral", "swap", "combination", "strength", "window", "present", "removal")
ORIGINS = ("neutral", "present")  # images that no edit made: edits are compared with them

# Curves through the latents of the plain swaps.
INTERPOLATIONS = ("bezier", "cubic", "slerp", "lerp")
TRAJECTORIES = ("swap", *INTERPOLATIONS)  # ways to go from the neutral image to an attribute, weak to strong

FINETUNED, BASE = "finetuned", "base"

# Names that no attribute may have, and what they mean in tables.
RESERVED = {
    "class": "the classifier's head that decides between classes",
    "neutral": "the image without any attribute",
}


def position_column(method: str) -> str:
    """The column with the position of an image on its trajectory: the swap step, or the frame of a curve."""
    return "swap_step" if method == "swap" else "frame"


def origin_of(method: str, attribute: str) -> str:
    """The attribute of the image that an edit departs from, which is NEUTRAL for all edits but a removal."""
    return attribute if method == "removal" else NEUTRAL


def trajectories_in(methods: Iterable[str]) -> list[str]:
    """The TRAJECTORIES among `methods`, swaps first."""
    there = set(methods)
    return [method for method in TRAJECTORIES if method in there]
