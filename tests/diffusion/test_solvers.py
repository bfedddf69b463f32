"""Each solver equals diffusers' scheduler of the same name, step by step, and its state can be copied."""

from __future__ import annotations

import inspect
import math
import sys

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from latentpath.config.choices import SOLVERS
from latentpath.diffusion.noise import SeededNoise, step_noise
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import Solver, State, build_solver, predictions
from latentpath.errors import UserError

SHAPE, SEEDS = (4, 8, 8), [3, 11]
NOISE = SeededNoise(SHAPE)
SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
PEERS = {
    "ddim": DDIMScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
}
# diffusers makes arrays of tensors in a way that numpy 2 asks not to.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DETERMINISTIC = ["ddim", "dpmpp_2m", "euler"]


class Peer:
    """diffusers' scheduler, spoken to in variance-preserving latents: what its U-Net would see."""

    def __init__(self, name: str, n: int, *, eta: float = 0.0, **changes) -> None:
        clip = {"clip_sample": False} if name == "ddim" else {}
        self.scheduler = PEERS[name](**(SD | clip | changes))
        self.scheduler.set_timesteps(n)
        self.timesteps = self.scheduler.timesteps[:n]  # trailing: sometimes it has one too many, -1
        self.extra = {"eta": eta} if name == "ddim" else {}
        self.scaled = name.startswith("euler")

    def start(self, noise: Tensor) -> Tensor:
        return self._seen(noise * self.scheduler.init_noise_sigma, 0)

    def step(self, output: Tensor, i: int, z: Tensor) -> Tensor:
        sample = z * (1 + self.scheduler.sigmas[i] ** 2) ** 0.5 if self.scaled else z
        seen = self.scheduler.scale_model_input(sample, self.timesteps[i])
        torch.testing.assert_close(seen, z)
        after = self.scheduler.step(output, self.timesteps[i], sample, **self.extra).prev_sample
        return self._seen(after, i + 1)

    def _seen(self, sample: Tensor, i: int) -> Tensor:
        return sample / (1 + self.scheduler.sigmas[i] ** 2) ** 0.5 if self.scaled else sample


@pytest.fixture
def same_noise(monkeypatch):
    """`same_noise(peer, i)`: the peer draws the noise of (seed, step i) from here on."""

    def patch(peer: Peer, i: int) -> None:
        module = sys.modules[inspect.getmodule(peer.scheduler).__name__]
        draw = lambda *args, **kwargs: step_noise(SEEDS, i, SHAPE)  # noqa: E731
        monkeypatch.setattr(module, "randn_tensor", draw, raising=False)

    return patch


def ours(name: str, n: int, *, eta: float = 0.0, **changes) -> Solver:
    schedule = NoiseSchedule.from_config(SD | {"num_train_timesteps": 1000} | changes)
    return build_solver(name, schedule, n, eta=eta)


def pseudo_model(z: Tensor, timestep: float) -> Tensor:
    """A fixed function that looks at its input, as a U-Net does, and keeps its size."""
    return 0.8 * z + 0.6 * torch.sin(3 * z.roll(1, dims=-1) + timestep / 100)


def step(solver: Solver, state: State, i: int, model=pseudo_model) -> State:
    (z, *memory), sigma = solver.step(state, model(state[0], solver.timesteps[i]), i)
    noise_term = NOISE.step_noise(SEEDS, i, sigma)
    return (z if noise_term is None else z + noise_term, *memory)


def run(solver: Solver, state: State, steps: range, model=pseudo_model) -> State:
    for i in steps:
        state = step(solver, state, i, model)
    return state


def assert_near(actual: Tensor, expected: Tensor, relative: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=relative * float(expected.abs().max()))


variants = pytest.mark.parametrize(
    "name, changes",
    [
        *[
            ("ddim", {"eta": eta, "set_alpha_to_one": one})
            for eta in (0.0, 0.4, 1.0)
            for one in (True, False)
        ],
        *[(name, {}) for name in SOLVERS if name != "ddim"],
    ],
)
ZERO_SNR = {
    "rescale_betas_zero_snr": True,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}
settings = pytest.mark.parametrize(
    "prediction_type, timestep_spacing",
    [(p, s) for p in ("epsilon", "v_prediction") for s in ("leading", "trailing", "linspace")],
)


@variants
@settings
@pytest.mark.parametrize("n", [1, 2, 7, 10, 14, 50])
def test_every_step_equals_diffusers(name, changes, prediction_type, timestep_spacing, n, same_noise):
    """From the same latents, with all that a multistep solver remembers of the steps before. No farther than
    3e-6 for any N: diffusers rounds the coefficients to float32."""
    changes = {**changes, "prediction_type": prediction_type, "timestep_spacing": timestep_spacing}
    assert_every_step_equals(name, n, same_noise, **changes)


@pytest.mark.parametrize("name, changes", [("ddim", {"eta": 0.4}), *[(name, {}) for name in SOLVERS]])
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_every_step_from_zero_terminal_snr_equals_diffusers(name, changes, n, same_noise):
    """Euler is compared less closely: diffusers' first latents are 4096 times as large, and so its rounding.

    DDIM with eta 1 is left out: there diffusers' first step is the root of a number just below zero, NaN.
    """
    relative = 5e-4 if name.startswith("euler") else 1e-5
    assert_every_step_equals(name, n, same_noise, relative=relative, **(changes | ZERO_SNR))


def assert_every_step_equals(name: str, n: int, same_noise, *, relative: float = 1e-5, **changes) -> None:
    solver, peer = ours(name, n, **changes), Peer(name, n, **changes)
    assert list(solver.timesteps) == peer.timesteps.tolist()
    state = solver.start(NOISE.initial(SEEDS))
    assert_near(state[0], peer.start(NOISE.initial(SEEDS)), 1e-6)
    for i in range(n):
        same_noise(peer, i)
        expected = peer.step(pseudo_model(state[0], solver.timesteps[i]), i, state[0])
        state = step(solver, state, i)
        assert_near(state[0], expected, relative)


@pytest.mark.parametrize("name, changes", [("ddim", {"eta": 1.0}), *[(name, {}) for name in SOLVERS]])
@pytest.mark.parametrize("n, apart", [(50, 1e-5), (997, 5e-5)])
def test_whole_trajectories_stay_near_diffusers_and_nearer_to_the_exact_ones(
    name, changes, n, apart, same_noise
):
    """What drifts is diffusers, whose coefficients are float32: 1e-7 a step adds up over a thousand steps.
    Ours are Python floats; only the latents are rounded."""
    solver, peer = ours(name, n, **changes), Peer(name, n, **changes)
    z = peer.start(NOISE.initial(SEEDS))
    for i in range(n):
        same_noise(peer, i)
        z = peer.step(pseudo_model(z, solver.timesteps[i]), i, z)
    single, double = (
        run(solver, solver.start(NOISE.initial(SEEDS).to(dtype)), range(n))[0]
        for dtype in (torch.float32, torch.float64)
    )
    assert_near(single, z, apart)
    assert_near(single.double(), double, 1e-5)


@pytest.mark.parametrize("ddim_eta, name", [(0.0, "euler"), (1.0, "euler_ancestral")])
def test_euler_is_ddim_on_another_grid(ddim_eta, name, same_noise):
    """With leading spacing and alpha_bar = 1 at the end the grids are one: our DDIM is diffusers' Euler."""
    ddim, peer = ours("ddim", 10, eta=ddim_eta), Peer(name, 10)
    state = ddim.start(NOISE.initial(SEEDS))
    for i in range(10):
        same_noise(peer, i)
        expected = peer.step(pseudo_model(state[0], ddim.timesteps[i]), i, state[0])
        state = step(ddim, state, i)
        assert_near(state[0], expected, 1e-5)


def oracle(solver: Solver, clean: Tensor, prediction_type: str):
    """Answers with the noise that is truly in its input, as it knows the image."""

    def model(z: Tensor, timestep: float) -> Tensor:
        alpha = solver.levels[solver.timesteps.index(timestep)][0]
        a, b = math.sqrt(alpha), math.sqrt(1 - alpha)
        epsilon = (z - a * clean) / b
        return epsilon if prediction_type == "epsilon" else a * epsilon - b * clean

    return model


@pytest.mark.parametrize("name, changes", [("ddim", {"eta": 1.0}), *[(name, {}) for name in SOLVERS]])
@pytest.mark.parametrize(
    "schedule", [{"prediction_type": "epsilon"}, {"prediction_type": "v_prediction"}, ZERO_SNR]
)
@pytest.mark.parametrize("n", [1, 8])
def test_the_true_noise_leads_back_to_the_image(name, changes, schedule, n):
    """On the way the latents are as noisy as the level says, whether noise was added or not."""
    solver, prediction_type = ours(name, n, **schedule, **changes), schedule["prediction_type"]
    clean = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    state, model = solver.start(NOISE.initial(SEEDS)), oracle(solver, clean, prediction_type)
    alpha = solver.levels[0][0]
    state = (math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * state[0], *state[1:])
    for i, (_, alpha) in enumerate(solver.levels):
        state = step(solver, state, i, model)
        noise = state[0] - math.sqrt(alpha) * clean
        assert float(noise.std()) == pytest.approx(math.sqrt(1 - alpha), rel=0.1, abs=1e-4)
    torch.testing.assert_close(state[0], clean, atol=1e-4, rtol=0)


def test_predictions_undo_the_noising():
    clean, noise = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    for prediction_type in ("epsilon", "v_prediction"):
        schedule = NoiseSchedule.from_config(
            SD | {"num_train_timesteps": 1000, "prediction_type": prediction_type}
        )
        for t in (0, 500, 999):
            timestep = torch.tensor([t] * 3)
            z, output = (f(clean, noise, timestep) for f in (schedule.add_noise, schedule.target))
            found = predictions(z, output, float(schedule.alphas_cumprod[t]), prediction_type)
            torch.testing.assert_close(found, (clean, noise), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name, changes", [("ddim", {"eta": 1.0}), *[(name, {}) for name in SOLVERS]])
@pytest.mark.parametrize("fork", [1, 4, 6])
def test_a_copied_state_continues_as_the_original(name, changes, fork):
    """A copy goes on with another prompt, as it were; the original as if nothing was."""
    solver = ours(name, 7, **changes)
    whole = run(solver, solver.start(NOISE.initial(SEEDS)), range(7))[0]
    state = run(solver, solver.start(NOISE.initial(SEEDS)), range(fork))
    copies = tuple(part.clone() for part in state)
    other = run(solver, copies, range(fork, 7), lambda z, t: 0.5 * pseudo_model(z, t))[0]
    assert torch.equal(run(solver, state, range(fork, 7))[0], whole)
    assert (other - whole).abs().max() > 1e-2


@pytest.mark.parametrize("fork", [1, 3, 5])
def test_a_branch_of_dpmpp_2m_that_loses_its_memory_differs(fork):
    """The last step is of first order; any before it needs what was predicted at the one before."""
    solver = ours("dpmpp_2m", 7)
    z, memory = run(solver, solver.start(NOISE.initial(SEEDS)), range(fork))
    kept, lost = (run(solver, (z, m), range(fork, 7))[0] for m in (memory, torch.zeros_like(memory)))
    assert (kept - lost).abs().max() > 1e-2


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_only_stochastic_solvers_ask_for_noise(name):
    solver = ours(name, 5)
    state = solver.start(NOISE.initial(SEEDS))
    assert all(solver.step(state, state[0], i)[1] == 0 for i in range(5))
    for noisy in (ours("euler_ancestral", 5), ours("ddim", 5, eta=0.4)):
        asked = [noisy.step(state[:1], state[0], i)[1] for i in range(5)]
        assert all(sigma > 0 for sigma in asked[:-1])
        assert asked[-1] == 0  # alpha_bar is 1 there


@pytest.mark.parametrize("name", SOLVERS)
def test_a_row_does_not_depend_on_the_others(name):
    solver = ours(name, 7)
    state = run(solver, solver.start(NOISE.initial(SEEDS)), range(3))
    output = pseudo_model(state[0], 500)
    together, _ = solver.step(state, output, 3)
    alone, _ = solver.step(tuple(part[1:] for part in state), output[1:], 3)
    for part, part_alone in zip(together, alone, strict=True):
        assert torch.equal(part[1:], part_alone)


def test_impossible_settings_are_refused():
    with pytest.raises(
        ValueError, match="unknown solver 'heun'; one of ddim, dpmpp_2m, euler, euler_ancestral"
    ):
        ours("heun", 10)
    for name in ("dpmpp_2m", "euler", "euler_ancestral"):
        with pytest.raises(UserError, match=rf"`eta` is 0.5, but `solver` is {name}"):
            ours(name, 10, eta=0.5)
    for name, most in (("ddim", 999), ("dpmpp_2m", 998), ("euler", 999)):
        with pytest.raises(UserError, match=rf"`num_inference_steps` is 1000, expected 1\.\.{most}"):
            ours(name, 1000)
    z = torch.zeros(1, *SHAPE)
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        ours("ddim", 10, prediction_type="sample").step((z,), z, 0)
