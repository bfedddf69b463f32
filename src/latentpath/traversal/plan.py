"""The plan of a sweep: the word of each image, which is the letter of each step, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.mix import Direction, Guidance, Mix
from latentpath.keys import JOIN
from latentpath.traversal.methods.order import order
from latentpath.traversal.methods.own import Function, Own
from latentpath.traversal.methods.placebo import Placebo
from latentpath.traversal.methods.strength import Strength
from latentpath.traversal.tree import Level, build_trie
from latentpath.traversal.words import Late, Letter, Prompt, Prompts, Spell, Swap, neutral, target


@dataclass(frozen=True)
class Branch:
    """One image of a seed: what identifies it in tables, and `spell`, which gives its letters.

    `swap_step` is the first step_index that is edited: 0 = from the start, N = never. `until` is the first
    that is no longer edited, N = to the end. `strength` is the dial of the method, 1 for methods without one.
    """

    method: str
    attributes: tuple[str, ...]
    swap_step: int
    until: int
    strength: float = 1.0
    spell: Spell = field(default=Swap(target), compare=False)

    @property
    def late(self) -> Late | None:
        """What the branch needs of the finished neutral image; None for a branch of the tree."""
        return self.spell.late if isinstance(self.spell, Swap) else None

    @property
    def attribute(self) -> str:
        """The name in tables: `hair`, or `hair+ruler` for a combination."""
        return JOIN.join(self.attributes)


@dataclass(frozen=True)
class SweepPlan:
    """A sweep over classes x branches x seeds, with prompts from the template of the training captions.

    The first branch is the neutral image. one_step_late: a swap at s takes effect from step s + 1, as in the
    paper's released code, whose callback swaps at the end of a step. unet_calls, unet_rows and images are
    those of the whole sweep.
    """

    captions: CaptionTemplate
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    num_inference_steps: int
    branches: tuple[Branch, ...]
    guidance_scale: float
    negative_prompt: str
    one_step_late: bool = False

    def __post_init__(self) -> None:
        n = self.num_inference_steps
        for branch in self.branches:
            if not 0 <= branch.swap_step <= n:
                raise ValueError(f"swap step {branch.swap_step} lies outside 0..{n}")
            if not branch.swap_step <= branch.until <= n:
                raise ValueError(f"until {branch.until} lies outside {branch.swap_step}..{n}")

    def prompts_of(self, cls: str, branch: Branch) -> Prompts:
        """Return the prompts that a branch can mix."""
        return Prompts(self.captions, cls, branch.attributes, self.negative_prompt, self.guidance_scale)

    def word(self, cls: str, branch: Branch) -> Sequence[Letter]:
        """Return the letter of each of the N steps."""
        n = self.num_inference_steps
        edited = range(self.first_step(branch), min(branch.until + self.one_step_late, n))
        return branch.spell(self.prompts_of(cls, branch), edited, n)

    def first_step(self, branch: Branch) -> int:
        """Return the first step_index at which the letter of a branch differs; N if none does."""
        return min(branch.swap_step + self.one_step_late, self.num_inference_steps)

    def edit(self, cls: str, branch: Branch) -> Letter:
        """Return the letter of the first edited step; of the last step if no step is edited."""
        return self.word(cls, branch)[min(self.first_step(branch), self.num_inference_steps - 1)]

    def text(self, cls: str, branch: Branch) -> str:
        """Return the text that a branch moves to: the text of the last prompt in the letter of its edit."""
        return self.edit(cls, branch).prompts[-1].text

    def plain(self, swap_steps: Iterable[int], *, seeds: int | None = None) -> SweepPlan:
        """Return the same sweep with only the neutral image and the plain swaps at `swap_steps`.

        seeds: keep only this many first seeds; None keeps all.
        """
        n = self.num_inference_steps
        attributes = list(dict.fromkeys(b.attributes for b in self.branches if b.method == "swap"))
        branches = [self.branches[0]]
        branches += [Branch("swap", a, s, n) for s in sorted(swap_steps) for a in attributes]
        return replace(self, branches=tuple(branches), seeds=self.seeds[:seeds])

    @cached_property
    def letters(self) -> list[Letter]:
        """All distinct letters in a fixed order, the neutral one first; the tree refers to them by index."""
        pairs = [(cls, branch) for cls in self.classes for branch in self.branches]
        asked = [x for c, b in pairs if b.late for x in b.late.asks(self.prompts_of(c, b))]
        ends = [Mix.of((end, 1.0)) for c in self.classes for d in self.directions(c) for end in d.ends]
        lenders = [x for x in map(self.lender, self.classes) if x is not None]
        return list(dict.fromkeys([x for c, b in pairs for x in self.word(c, b)] + asked + ends + lenders))

    def directions(self, cls: str) -> list[Direction]:
        """Return the directions of h-space that images of a class follow (see `traversal.directions`)."""
        letters = (letter for branch in self.branches for letter in self.word(cls, branch))
        return list(dict.fromkeys(x.shifts.direction for x in letters if x.shifts))

    @property
    def early(self) -> list[Branch]:
        """The branches of the tree."""
        return [branch for branch in self.branches if branch.late is None]

    @property
    def late(self) -> list[Branch]:
        """The branches that need the finished neutral image first (see `late.branch_off`)."""
        return [branch for branch in self.branches if branch.late is not None]

    @cached_property
    def prompts(self) -> list[Prompt]:
        """All distinct prompts in a fixed order: the negative one, then those of the letters."""
        named = (prompt for letter in self.letters for prompt in letter.prompts)
        return list(dict.fromkeys([Prompt(self.negative_prompt), *named]))

    def lender(self, cls: str) -> Letter | None:
        """Return the letter of the neutral image beside late branches, if any of them borrows its attention.

        Its latents are those of the trunk anyway, so it costs the one row whose attention is used.
        """
        borrowing = any(letter.borrows for branch in self.late for letter in self.word(cls, branch))
        return Mix.of((self.prompts_of(cls, self.branches[0]).neutral, 1.0)) if borrowing else None

    def indexed(self, letter: Letter) -> Guidance[int]:
        """Return a letter with indices into `prompts`."""
        return letter.map(self.prompts.index)

    def tree(self, cls: str) -> tuple[list[Level], list[int]]:
        """Return the levels of the prefix tree, and each early branch's last node (see `tree.build_trie`)."""
        place = {letter: i for i, letter in enumerate(self.letters)}
        return build_trie([[place[x] for x in self.word(cls, branch)] for branch in self.early])

    @property
    def remembers(self) -> bool:
        """Whether any letter remembers earlier steps (see `diffusion.mix.Gated`)."""
        return any(letter.remembers for letter in self.letters)

    @property
    def borrows(self) -> bool:
        """Whether any letter uses the attention of the neutral image (see `methods.p2p`)."""
        return any(letter.borrows for letter in self.letters)

    @property
    def adapters(self) -> list[str]:
        """The attributes whose adapters some letter turns on (see `methods.slider`)."""
        return list(dict.fromkeys(name for letter in self.letters for name, _ in letter.adapters))

    @cached_property
    def nodes(self) -> list[int]:
        """The latents per seed that are denoised at each step: nodes of the tree, and late branches."""
        return [len(letters) for letters in self._denoised]

    @cached_property
    def rows(self) -> list[int]:
        """The rows of the U-Net per seed at each step: one for each term of each node's letter."""
        return [sum(map(len, letters)) for letters in self._denoised]

    @cached_property
    def _denoised(self) -> list[list[Letter]]:
        """The letters of all latents of a seed at each step."""
        cls, levels = self.classes[0], self.tree(self.classes[0])[0]
        late = [(self.first_step(branch), self.word(cls, branch)) for branch in self.late]
        if lender := self.lender(cls):
            late.append((min(first for first, _ in late), [lender] * self.num_inference_steps))
        return [
            [self.letters[x] for x in level.letters] + [word[step] for first, word in late if first <= step]
            for step, level in enumerate(levels)
        ]

    @cached_property
    def _advance(self) -> list[Letter]:
        """The letters of all latents of a seed that are denoised before late branches can start."""
        found = {}
        for branch in self.late:
            p = self.prompts_of(self.classes[0], branch)
            if branch.late and (asked := branch.late.asks(p)):
                found[branch.attributes, asked] = [*asked] * (branch.late.calls(p) // len(asked))
        return [letter for letters in found.values() for letter in letters]

    @cached_property
    def _once(self) -> list[Letter]:
        """The letters of all latents that are denoised once per class, to find directions."""
        cls, found = self.classes[0], self.directions(self.classes[0])
        ends = {(d.seeds, end): Mix.of((end, 1.0)) for d in found for end in d.ends}
        walked = [self.word(cls, self.branches[0])] * sum({d.seeds for d in found})
        asked = [x for (seeds, _), x in ends.items() for _ in range(seeds * self.num_inference_steps)]
        return [x for word in walked for x in word] + asked

    @property
    def calls_per_seed(self) -> int:
        """U-Net calls per seed: N + A sum_k (N - s_k) for K swap steps s_k of A attributes."""
        return sum(self.nodes) + len(self._advance)

    @property
    def plain_calls_per_seed(self) -> int:
        """U-Net calls per seed if each image took one full run."""
        return len(self.branches) * self.num_inference_steps

    @property
    def rows_per_seed(self) -> int:
        """U-Net rows per seed; a call with guidance takes two."""
        return sum(self.rows) + sum(map(len, self._advance))

    @property
    def samples(self) -> int:
        """The number of seeds over all classes."""
        return len(self.classes) * len(self.seeds)

    @property
    def unet_calls(self) -> int:
        return self.samples * self.calls_per_seed + len(self.classes) * len(self._once)

    @property
    def unet_rows(self) -> int:
        return self.samples * self.rows_per_seed + len(self.classes) * sum(map(len, self._once))

    @property
    def images(self) -> int:
        return self.samples * len(self.branches)


def plan_sweep(
    captions: CaptionTemplate,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
    swap_steps: Sequence[int],
    num_inference_steps: int,
    seeds: Iterable[int],
    guidance_scale: float = 7.5,
    negative_prompt: str = "",
    combinations: Sequence[Sequence[str]] = (),
    removal: bool = False,
    strengths: Sequence[float] = (),
    windows: Sequence[tuple[int, int]] = (),
    orders: Sequence[tuple[str, str]] = (),
    placebo: str | None = None,
    methods: Mapping[str, Mapping[float, Spell] | Function] | None = None,
    one_step_late: bool = False,
    scale: bool = False,
) -> SweepPlan:
    """Plan the neutral image, swaps of every attribute and combination at every swap step, and other edits.

    removal: also edit from an image with the attribute to the neutral prompt. strengths: also use targets at
    strengths other than 1, which multiply the target embedding if `scale`, else blend from the neutral one.
    windows: pairs (s, r), also use the target in steps s..r-1 only. orders: pairs of attributes, of which
    one is asked for in these steps and both from r on, either first. placebo: also swap in this paraphrase of
    the neutral caption, a template with {neutral} or {cls}. methods: also edit by these methods, every
    attribute at every swap step: name -> dial -> what it spells, or name -> a function (`methods.own`).
    """
    n = num_inference_steps
    steps = sorted(swap_steps)
    single = [(a,) for a in attributes]
    removed, present = Swap(neutral, outside=target), Swap(target, outside=target)
    branches = [Branch("neutral", (), n, n)]
    branches += [Branch("swap", a, s, n) for s in steps for a in single]
    branches += [Branch("combination", tuple(c), s, n) for s in steps for c in combinations]
    weak = {x: Swap(Strength(x, scale)) for x in strengths if x != 1}
    branches += [Branch("strength", a, s, n, x, y) for x, y in weak.items() for s in steps for a in single]
    branches += [Branch("window", a, s, r) for s, r in windows for a in single]
    both = [pair for a, b in orders for pair in ((a, b), (b, a))]
    branches += [Branch("order", pair, s, r, spell=order) for s, r in windows for pair in both]
    if removal:
        branches += [Branch("present", a, n, n, spell=present) for a in single]
        branches += [Branch("removal", a, s, n, spell=removed) for s in steps for a in single]
    if placebo is not None:
        branches += [Branch("placebo", ("placebo",), s, n, spell=Swap(Placebo(placebo))) for s in steps]
    for name, dials in (methods or {}).items():
        spells = {1.0: Own(name, dials)} if callable(dials) else dials
        for dial, spell in spells.items():
            branches += [Branch(name, a, s, n, dial, spell) for s in steps for a in single]
    return SweepPlan(
        captions=captions,
        classes=tuple(classes),
        seeds=tuple(seeds),
        num_inference_steps=n,
        branches=tuple(branches),
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        one_step_late=one_step_late,
    )
