"""Methods of the user: functions of a plugin that return the prompt, or the mix, of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from latentpath.diffusion.mix import Mix
from latentpath.errors import UserError
from latentpath.traversal.words import Letter, Prompt, Prompts

# (neutral, target, *, swap_step, num_inference_steps) -> what each step uses: a prompt, or {prompt: weight}.
# `neutral` and `target` are captions; `swap_step` is the first step_index that is edited. If there are values
# for it in `attribute.dials`, the function also gets `dial`.
Function = Callable[..., Sequence[Prompt | str | Mapping[Prompt | str, float]]]


@dataclass(frozen=True)
class Own:
    """A method that a user's function defines; a prompt alone gets the guidance of the sweep."""

    name: str
    function: Function
    dial: float | None = None

    def __call__(self, p: Prompts, edited: range, n: int) -> Sequence[Letter]:
        """Return the letters. Raises UserError if the function did not give one for each of the n steps."""
        dial = {} if self.dial is None else {"dial": self.dial}
        given = self.function(
            p.neutral.text, p.target.text, swap_step=edited.start, num_inference_steps=n, **dial
        )
        if not isinstance(given, Iterable):
            raise UserError(f"the method {self.name!r} gave {given!r}, expected a list of {n} prompts")
        letters = [self._letter(p, said) for said in islice(given, n + 1)]
        if len(letters) != n:
            gave = f"{len(letters)}" if len(letters) < n else f"more than {n}"
            raise UserError(
                f"the method {self.name!r} gave {gave} prompts, expected one for each of {n} steps"
            )
        return letters

    def _letter(self, p: Prompts, said: object) -> Letter:
        if isinstance(said, Mapping):
            try:
                return Mix.of(*((self._prompt(key), float(weight)) for key, weight in said.items()))
            except (TypeError, ValueError) as error:
                raise UserError(f"the method {self.name!r} gave {said!r}: {error}") from None
        return p.guided(self._prompt(said))

    def _prompt(self, said: object) -> Prompt:
        prompt = Prompt(said) if isinstance(said, str) else said
        if not isinstance(prompt, Prompt):
            raise UserError(
                f"the method {self.name!r} gave {said!r}, expected a text, a Prompt, or weights of them "
                "{prompt: weight}, for each step"
            )
        return prompt
