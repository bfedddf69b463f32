"""Reads the tensors and arrays of pickles without running any code that the pickles name."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
_ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # so numpy 1 wrote it
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Inert:
    """Replaces every class and function that makes no tensor: accepts any arguments and does nothing."""

    dump_patches = False  # torch reads this if a pickle also holds the source of its classes

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        self.state: object = {}

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> object:
        return _ALLOWED.get((module, name), _Inert)


class _InertPickle:
    """The parts of the module `pickle` that torch.load uses."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:  # Any: as of pickle
        return _Unpickler(file, **options).load()


def tensors_of(file: Path) -> dict[str, Tensor]:
    """Read the `state_dict` of an nn.Module that `torch.save(module, file)` wrote, with any version of torch.

    A pickle can call any function. Here all names except three that make tensors are replaced by `_Inert`, so
    the network's own code is neither needed nor run. Raises ValueError for anything other than a pickled
    module, and torch's own errors for a damaged file.
    """
    content = io.BytesIO(file.read_bytes())  # from memory, so that torch does not treat it as an archive
    if zipfile.is_zipfile(content) and "constants.pkl" in (
        Path(name).name for name in zipfile.ZipFile(content).namelist()
    ):
        raise ValueError("it is a TorchScript archive")
    content.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings that the source of a class has changed
        module = torch.load(content, map_location="cpu", weights_only=False, pickle_module=_InertPickle)
    tensors = dict(_walk(module))
    if not tensors:
        raise ValueError("it holds no module")
    return tensors


def _walk(module: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    state = module.state if isinstance(module, _Inert) and isinstance(module.state, dict) else {}
    for name, value in {**state.get("_parameters", {}), **state.get("_buffers", {})}.items():
        if isinstance(value, Tensor):
            yield prefix + name, value.detach()
    for name, child in state.get("_modules", {}).items():
        yield from _walk(child, f"{prefix}{name}.")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> object:
        try:
            return _ARRAYS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which makes no array") from None


def arrays_of(content: bytes) -> dict[str, Any]:  # Any: nested arrays
    """Read a pickle of nested dictionaries of numpy arrays, as JAX programs write their weights.

    Raises pickle.UnpicklingError if it names anything other than what makes an array.
    """
    found = _ArrayUnpickler(io.BytesIO(content)).load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"it holds {type(found).__name__}, expected a dictionary of arrays")
    return found
