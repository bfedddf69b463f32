"""`latentpath fetch`: download the weights of a configuration that do not ship with the package."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.fetching import fetch_weights
from latentpath.runs.files import make_folder
from latentpath.runs.weights import Need, WeightsFolder, missing, needed

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> None:
    """Download the weights that are missing in `cfg.weights_dir`; contact no server for existing ones.

    If it is null they go to the user's cache, where the commands on this machine find them.
    """
    folder = WeightsFolder(cfg.weights_dir)
    needs = needed(cfg, ("base", "classifier", "metrics"))
    for need in needs:
        place = folder.path / need.folder
        lacking = missing(need, folder.path)
        if not lacking:
            log.info("already there: %s in %s", need.source, place)
            continue
        log.info("fetching %s to %s", need.source, place)
        for name in lacking:
            (place / name).unlink(missing_ok=True)  # a truncated copy would count as complete
        make_folder(place)
        try:
            fetch_weights(need, place)
        except UserError:
            raise
        except Exception as error:  # of several libraries; the user needs the same answer to each
            raise UserError(_failure(need, place, error)) from error
        if lacking := missing(need, folder.path):
            raise UserError(
                f"{need.source} has no {', '.join(lacking)}. Only safetensors are taken, for a pickle can "
                "run code; convert it where you trust it, and put the result there."
            )
    if not needs:
        log.info("nothing to fetch: all that this configuration needs ships with the package")
    elif folder.named:
        log.info(
            "all weights are there. To use them without network, copy %s and give weights_dir=that/folder",
            folder.path,
        )
    else:
        log.info("all weights are there: commands on this machine find them in %s", folder.path)


def _failure(need: Need, place: Path, error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OfflineModeIsEnabled" in kinds:
        todo = "HF_HUB_OFFLINE forbids it: unset it on a machine with network."
    elif "GatedRepoError" in kinds:
        todo = "Accept its terms on the hub's page of it, then log in with `hf auth login`."
    elif kinds & {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}:
        todo = "Look for a slip in the name and revision; what is not public needs `hf auth login`."
    else:
        todo = (
            "Is there a network, a proxy to name (HTTPS_PROXY) or a mirror (HF_ENDPOINT)? The same command "
            "continues from here."
        )
    origin = (
        "" if "://" in need.source else f" from {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}"
    )
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (
        f"{' '.join(need.overrides)}: cannot fetch {need.source}{origin} into {place}: "
        f"{type(error).__name__}: {reason[:300]}\n{todo}"
    )
