"""A pickled network is read without its code: its tensors come out, and nothing that it names runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from latentpath.runs.inert_pickle import tensors_of


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_tensors_of_a_whole_network(tmp_path: Path, zipped: bool):
    network: nn.Module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()))
    network.settings = {"steps": np.arange(3), "names": {"a"}, "payload": Payload(tmp_path / "made")}
    torch.save(network, tmp_path / "it.pt", _use_new_zipfile_serialization=zipped)
    found, state = tensors_of(tmp_path / "it.pt"), network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and not found[name].requires_grad for name in state)
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "it.pt", weights_only=False)
    assert (tmp_path / "made").exists()  # so the trap was one


def test_a_pickle_without_a_module_is_refused(tmp_path: Path):
    file = tmp_path / "it.pt"
    torch.save(Payload(tmp_path / "made"), file)
    with pytest.raises(ValueError, match="holds no module"):
        tensors_of(file)
    torch.jit.script(nn.Linear(1, 1)).save(file)
    with pytest.raises(ValueError, match="TorchScript"):
        tensors_of(file)
    assert not (tmp_path / "made").exists()
