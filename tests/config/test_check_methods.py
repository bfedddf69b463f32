"""Bad dials, and methods that do not go together, are refused in the first second, with what to do."""

from __future__ import annotations

import pytest

from latentpath.config.checks import check
from latentpath.config.overrides import check_overrides
from latentpath.errors import UserError

NO_WORD_IN_COMMON = [
    "dataset.captions.without_attributes='{cls}'",
    "dataset.captions.with_attributes='{attributes}'",
    "dataset.classes=[MEL]",
]


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["method=[swap,mask]", "method.mask.dials=[1.5]"], r"mask\.dials is 1\.5, expected .* 0 to 1"),
        (["method=[swap,p2p]", "method.p2p.dials=[1.2]"], r"p2p\.dials is 1\.2, expected .* 0 to 1"),
        (["method=[swap,p2p]", "method.p2p.self_attention=-1"], r"method\.p2p\.self_attention is -1"),
        (["method=[swap,leditspp]", "method.leditspp.quantile=1"], r"leditspp\.quantile is 1\.0"),
        (["method=[swap,sega]", "method.sega.dials=[5,5]"], r"sega\.dials is \[5\.0, 5\.0\]: .* each once"),
        (["method=[swap,sega]", "method.sega.dials=[]"], r"sega\.dials is \[\]: expected one number"),
        (["method=[fcfg]"], r"method does not name swap, .* Add it: method=\[swap,\.\.\.\]"),
        (["method=[swap,mask]", "method.mask.of=[fcfg]"], r"in the sweep; give method=\[\.\.\.,fcfg,mask\]"),
        (["method=[swap,sdedit,mask]", "method.mask.of=[sdedit]"], r"mask\.of is 'sdedit'\. "),
        (["method=[swap,placebo]", "method.placebo.caption='{neutral}'"], "caption itself: say it in"),
        (["method=[swap,placebo]", "method.placebo.caption=hello"], r"a text with \{neutral\}"),
        (["method=[swap,hspace]", "sampler=dpmpp_2m"], "sampler=ddim or sampler=euler, or leave out hspace"),
        (["method=[swap,hspace]", "sampler.guidance_rescale=0.7"], "sampler.guidance_rescale=0"),
        (["method=[swap,hspace]", "method.hspace.seeds=0"], r"hspace\.seeds is 0"),
        (["method=[swap,sdedit]", "inversion=ddpm"], "Give inversion=ddim, or leave out one of them"),
        (["method=[swap,offtarget]", "dataset.attributes=[hair]", "attribute.names=[hair]"], "only one"),
        (["method=[swap,p2p]", *NO_WORD_IN_COMMON], "none in common: leave out p2p, or change dataset"),
        *(
            ([f"method=[swap,{name}]", "sampler.compile=true"], "Give sampler.compile=false")
            for name in ("slider", "leditspp", "p2p", "hspace")
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict_are_refused_with_what_to_do(compose, overrides, said):
    with pytest.raises(UserError, match=said):
        check(compose("run", "dataset.root=x", *overrides))


@pytest.mark.parametrize(
    "words, said",
    [
        (["method=[swap,fcfg,fcfg]"], r"method=\[swap,fcfg,fcfg\] names one twice"),
        (["method=[swap,p2pp]"], r"method has no option 'p2pp'\. Did you mean 'p2p'\?"),
        (["method=[swap,sega]", "method.p2p.dials=[0.5]"], r"add it, method=\[swap,sega,p2p\]"),
    ],
)
def test_words_are_refused_before_anything_is_composed(words, said):
    with pytest.raises(UserError, match=said):
        check_overrides(words)


def test_captions_with_a_word_in_common_are_taken(compose):
    check(compose("run", "dataset.root=x", "method=[swap,p2p,leditspp]", "sampler.compile=false"))
