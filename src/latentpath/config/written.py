"""A configuration as it is written down: resolved, but values of the environment are never in the clear."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from latentpath.config.schema import Config

Json = dict[str, Any]  # Any: an object of a JSON or YAML file has values of many types


def written_config(cfg: Config, *, digests: bool = False) -> Json:
    """Return `cfg` as plain dictionaries, in which `${oc.env:NAME}` stays as the user wrote it.

    The variable may hold a token, or a folder that names a patient. With `digests` a hash of its value
    follows, so that two configurations with different values differ.
    """
    from omegaconf import OmegaConf

    raw = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    resolved = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    secrets = {value for text, value in _leaves(raw, resolved) if "${oc.env:" in text and value}
    return _hide(raw, resolved, secrets, digests)


def flat(node: object, *, separator: str = ".", prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value of nested mappings with its path, such as `dataset.captions.class_names`."""
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for key, value in node.items():
        path = f"{prefix}{separator}{key}" if prefix else str(key)
        yield from flat(value, separator=separator, prefix=path)


def _leaves(raw: Any, resolved: Any) -> Iterator[tuple[str, str]]:  # Any: nested alike
    """Yield every text that holds an interpolation, as the user wrote it and as it is resolved."""
    if isinstance(raw, dict):
        for key in raw:
            yield from _leaves(raw[key], resolved[key])
    elif isinstance(raw, list):
        for one, other in zip(raw, resolved, strict=True):
            yield from _leaves(one, other)
    elif isinstance(raw, str) and "${" in raw:
        yield raw, str(resolved)


def _hide(raw: Any, resolved: Any, secrets: set[str], digests: bool) -> Any:  # Any: nested alike
    if isinstance(raw, dict):
        return {key: _hide(raw[key], resolved[key], secrets, digests) for key in raw}
    if isinstance(raw, list):
        return [_hide(one, other, secrets, digests) for one, other in zip(raw, resolved, strict=True)]
    if isinstance(raw, str) and "${" in raw and any(secret in str(resolved) for secret in secrets):
        digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
        return f"{raw} (sha256 {digest})" if digests else raw
    return resolved
