"""`latentpath fetch` from a local hub, and the messages on a node without network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentpath.commands import COMMANDS, EVALUATE, fetch
from latentpath.errors import UserError
from latentpath.runs import preflight, weights
from latentpath.runs.base_folder import check_base
from latentpath.runs.preflight import check_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIPELINE, TIMM = "fake/tiny-sd", "timm/efficientnet_b0.ra_in1k"


@pytest.fixture
def hub(tiny_sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A hub that the client of this process asks: `root/<owner>/<name>/` is a model, `asked` its requests."""
    from huggingface_hub import constants

    root, asked = tmp_path / "served", []
    shutil.copytree(tiny_sd, root / PIPELINE)
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin"):
        (root / PIPELINE / name).write_bytes(b"not this")
    for name in ("v1-5-pruned.ckpt", "pipeline.py"):
        (root / PIPELINE / name).write_bytes(b"nor this")
    (root / PIPELINE / "LICENSE.md").write_text("be good")
    (root / TIMM).mkdir(parents=True)
    (root / TIMM / "model.safetensors").write_bytes(b"x" * 1000)
    (root / TIMM / "pytorch_model.bin").write_bytes(b"not this")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(root, asked))
    # By default `shutdown` waits for half a second.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield SimpleNamespace(root=root, asked=asked, url=url, server=server)
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)


@pytest.fixture
def configured(compose, tmp_path: Path):
    """The configuration of a command that needs a pipeline and a timm model, with a folder for them."""

    def configure(command: str, *overrides: str) -> Any:
        return compose(
            command,
            f"model.name={PIPELINE}",
            "classifier=efficientnet_b0",
            "metric.lpips=[]",
            f"weights_dir={tmp_path / 'weights'}",
            *overrides,
        )

    return configure


def test_fetch_takes_what_is_needed_and_no_pickle(hub, configured, tmp_path: Path):
    fetch.run(configured("fetch"), tmp_path)
    folder = tmp_path / "weights"
    model = folder / "hub" / PIPELINE
    for part in ("unet", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        assert (model / name).read_bytes() == (hub.root / PIPELINE / name).read_bytes()
    assert (model / "LICENSE.md").read_text() == "be good"
    timm = folder / "timm" / "efficientnet_b0" / "model.safetensors"
    assert timm.read_bytes() == b"x" * 1000
    kinds = {f.suffix for f in folder.rglob("*") if f.is_file() and ".cache" not in f.parts}
    assert kinds <= {".safetensors", ".json", ".txt", ".md"}
    assert not list(folder.rglob("*fp16*"))
    noted = json.loads((timm.parent / "fetched.json").read_text())
    assert noted["source"] == TIMM and noted["commit"] == COMMIT
    assert noted["files"]["model.safetensors"] == {
        "size": 1000,
        "sha256": hashlib.sha256(b"x" * 1000).hexdigest(),
    }
    assert all(COMMIT in path or "/api/" in path for path in hub.asked)  # one commit, whatever main does


def test_both_text_encoders_of_sdxl_are_fetched_and_missed(hub, configured, tiny_sdxl: Path, tmp_path: Path):
    shutil.copytree(tiny_sdxl, hub.root / "fake" / "tiny-sdxl")
    base = ("model.name=fake/tiny-sdxl", "metric.lpips=[]", "classifier.pretrained=false")
    fetch.run(configured("fetch", *base), tmp_path)
    folder = tmp_path / "weights" / "hub" / "fake" / "tiny-sdxl"
    check_base(str(folder), None, None, weights.WeightsFolder())
    (folder / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"tiny-sdxl/text_encoder_2/model\.safetensors"):
        check_weights(configured("finetune", *base), COMMANDS["finetune"], tmp_path)


def test_without_a_folder_they_go_to_the_cache_where_commands_find_them(hub, configured, tmp_path: Path):
    fetch.run(configured("fetch", "weights_dir=null"), tmp_path)
    cfg = configured("run", "weights_dir=null")
    check_weights(cfg, COMMANDS["run"], tmp_path)
    folder = weights.WeightsFolder()
    assert folder.path == tmp_path / "cache" / "latentpath" and not folder.named
    assert folder.model(PIPELINE) and folder.timm("efficientnet_b0")


def test_what_is_there_is_not_fetched_again_and_what_was_cut_short_is(hub, configured, tmp_path: Path):
    fetch.run(configured("fetch"), tmp_path)
    hub.asked.clear()
    fetch.run(configured("fetch"), tmp_path)
    assert hub.asked == []
    file = tmp_path / "weights" / "timm" / "efficientnet_b0" / "model.safetensors"
    times = file.stat()
    file.write_bytes(b"x" * 400)
    os.utime(file, (times.st_atime, times.st_mtime))  # as rsync leaves it
    with pytest.raises(UserError, match=str(file)):
        check_weights(configured("classify"), COMMANDS["classify"], tmp_path)
    fetch.run(configured("fetch"), tmp_path)
    assert file.stat().st_size == 1000


def test_shards_and_revisions(hub, configured, tmp_path: Path):
    unet = hub.root / PIPELINE / "unet"
    whole = unet / "diffusion_pytorch_model.safetensors"
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for shard in shards:
        shutil.copy(whole, unet / shard)
    whole.unlink()
    index = {"weight_map": {"a.weight": shards[0], "b.weight": shards[1]}}
    (unet / f"{whole.name}.index.json").write_text(json.dumps(index))
    cfg = configured("fetch", "model.revision=v2", "classifier.pretrained=false")
    fetch.run(cfg, tmp_path)
    there = tmp_path / "weights" / "hub" / f"{PIPELINE}@v2" / "unet"
    assert all((there / shard).is_file() for shard in shards)
    check_weights(cfg, COMMANDS["finetune"], tmp_path)
    (there / shards[1]).unlink()
    with pytest.raises(UserError, match=shards[1]):
        check_weights(cfg, COMMANDS["finetune"], tmp_path)


@pytest.mark.parametrize("inside", ["", "vae"])
def test_another_vae_alone_or_out_of_a_pipeline(hub, compose, tiny_sd: Path, tmp_path: Path, inside: str):
    shutil.copytree(tiny_sd / "vae", hub.root / "fake" / "vae" / inside)
    overrides = ("model.vae=fake/vae", f"weights_dir={tmp_path / 'weights'}", "metric.lpips=[]")
    fetch.run(compose("fetch", *overrides), tmp_path)
    assert (tmp_path / "weights" / "hub" / "fake" / "vae" / inside / "config.json").is_file()
    check_weights(compose("finetune", *overrides), COMMANDS["finetune"], tmp_path)


def test_only_pickles_are_no_weights(hub, configured, tmp_path: Path):
    (hub.root / PIPELINE / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"has no unet/diffusion_pytorch_model.safetensors\. Only safetensors"
    ):
        fetch.run(configured("fetch"), tmp_path)
    assert not list((tmp_path / "weights").rglob("*.bin"))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.name=fake/absent"], "fake/absent from http.*RepositoryNotFound(?s:.*)Look for a slip"),
        (["model.name=fake/gated"], "GatedRepo(?s:.*)Accept its terms"),
        (["model.revision=no-such"], "model.revision=no-such(?s:.*)RevisionNotFound(?s:.*)Look for a slip"),
        (["classifier.arch=efficientnet_bo"], "no pretrained weights of it"),
    ],
)
def test_what_cannot_be_fetched_is_one_message(hub, configured, tmp_path: Path, overrides, message):
    with pytest.raises(UserError, match=message):
        fetch.run(configured("fetch", *overrides), tmp_path)


def test_without_network_the_command_ends_with_one_message(tmp_path: Path):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    env = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
    }
    words = ["fetch", "model=sd15", "metric.lpips=[]", f"weights_dir={tmp_path / 'weights'}"]
    done = subprocess.run(
        [sys.executable, "-m", "latentpath", *words], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("latentpath:") :]
    assert str(tmp_path / "weights" / "hub") in error and str(port) in error and "HTTPS_PROXY" in error


def test_backbones_are_torchvisions():
    from torchvision import models

    urls = {
        "alex": models.AlexNet_Weights.IMAGENET1K_V1.url,
        "squeeze": models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url,
        "vgg": models.VGG16_Weights.IMAGENET1K_V1.url,
    }
    assert {net: weights.BACKBONES_URL + name for net, name in weights.BACKBONES.items()} == urls


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's folder with random weights of SqueezeNet in torchvision's format, named by their hash."""
    import torch
    from torchvision import models

    torch.manual_seed(0)
    folder = tmp_path / "torchvision"
    folder.mkdir()
    torch.save(models.squeezenet1_1().state_dict(), folder / "it.pth")
    digits = hashlib.sha256((folder / "it.pth").read_bytes()).hexdigest()[:8]
    file = (folder / "it.pth").rename(folder / f"squeezenet1_1-{digits}.pth")
    monkeypatch.setitem(weights.BACKBONES, "squeeze", file.name)
    monkeypatch.setattr(weights, "BACKBONES_URL", folder.as_uri() + "/")
    return file


def test_backbones_of_lpips_are_fetched_and_their_hash_checked(backbone: Path, compose, tmp_path: Path):
    overrides = ("metric.lpips=[squeeze]", f"weights_dir={tmp_path / 'weights'}")
    fetch.run(compose("fetch", *overrides), tmp_path)
    check_weights(compose("evaluate", *overrides), EVALUATE, tmp_path)
    folder = weights.WeightsFolder(str(tmp_path / "weights"))
    file = folder.backbone("squeeze")
    assert file and file.read_bytes() == backbone.read_bytes()
    file.write_bytes(b"another")
    with pytest.raises(UserError, match="SHA-256"):
        folder.backbone("squeeze")
    file.unlink()
    backbone.write_bytes(b"what a proxy says instead")
    with pytest.raises(UserError, match="invalid hash"):
        fetch.run(compose("fetch", *overrides), tmp_path)
    assert not file.exists()


def test_networks_of_features_are_fetched_of_a_pickled_one_the_tensors(
    compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch
    from safetensors.torch import load_file

    served = tmp_path / "served"
    served.mkdir()
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(network.state_dict(), served / "it.pth")
    digits = hashlib.sha256((served / "it.pth").read_bytes()).hexdigest()[:8]
    inception = (served / "it.pth").rename(served / f"inception-{digits}.pth")
    torch.save(network, served / "whole.pt")
    for name, file, names in (
        ("inception", inception, (inception.name, "other-name.pth")),
        ("xrayvision", served / "whole.pt", weights.FEATURES["xrayvision"].names),
    ):
        changed = replace(weights.FEATURES[name], source=file.as_uri(), names=names)
        monkeypatch.setitem(weights.FEATURES, name, changed)
    features = "metric.features=[judge,inception,xrayvision]"
    overrides = (features, "metric.lpips=[]", f"weights_dir={tmp_path / 'weights'}")
    with pytest.raises(UserError) as caught:
        check_weights(compose("evaluate", *overrides), EVALUATE, tmp_path)
    for place, name in (("torch_fidelity", inception.name), ("torchxrayvision", "densenet121-res224-all")):
        assert f"{tmp_path}/weights/{place}/{name}" in str(caught.value)
    assert "'metric.features=[inception,xrayvision]'" in str(caught.value)
    check_weights(compose("evaluate", *overrides, "metric.against_data=false"), EVALUATE, tmp_path)
    check_weights(compose("evaluate", *overrides, "weights_dir=null"), EVALUATE, tmp_path)  # n/a, a note

    fetch.run(compose("fetch", *overrides), tmp_path)
    check_weights(compose("evaluate", *overrides), EVALUATE, tmp_path)
    folder = weights.WeightsFolder(str(tmp_path / "weights"))
    assert folder.feature_network("inception").read_bytes() == inception.read_bytes()
    found, state = (
        load_file(folder.feature_network("xrayvision")),
        network.state_dict(),
    )
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    left = {file.name for file in (tmp_path / "weights" / "torchxrayvision").iterdir()}
    assert left == {"densenet121-res224-all.safetensors", "fetched.json"}


def test_a_node_lacking_weights_says_which_files_and_the_command(configured, tmp_path: Path):
    folder = tmp_path / "weights"
    cfg = configured("run", "metric.lpips=[alex,vgg]")
    with pytest.raises(UserError) as caught:
        check_weights(cfg, COMMANDS["run"], tmp_path)
    message = str(caught.value)
    assert f"{folder}/hub/{PIPELINE}/ (the whole folder)" in message
    assert f"{folder}/timm/efficientnet_b0/model.safetensors" in message
    assert f"{folder}/torchvision/vgg16-397923af.pth" in message
    command = re.search(r"latentpath (fetch .*)", message)
    assert command and "'metric.lpips=[alex,vgg]'" in command[1] and f"model.name={PIPELINE}" in command[1]


@pytest.mark.parametrize(
    "command, lacking",
    [
        ("info", ""),
        ("phantom", ""),
        ("report", ""),
        ("classify", "timm hub"),
        ("finetune", "hub"),
        ("traverse", "hub"),
        ("evaluate", "torchvision"),
    ],
)
def test_each_command_asks_for_its_own(configured, tmp_path: Path, command: str, lacking: str):
    cfg = configured(command, "metric.lpips=[squeeze]")
    if not lacking:
        check_weights(cfg, COMMANDS[command], tmp_path)
        return
    with pytest.raises(UserError) as caught:
        check_weights(cfg, COMMANDS[command], tmp_path)
    folder = tmp_path / "weights"
    named = {kind for kind in ("timm", "hub", "torchvision") if f"{folder}/{kind}/" in str(caught.value)}
    assert named == set(lacking.split())


def test_what_is_complete_or_ships_needs_nothing(configured, compose, tiny_sd: Path, tmp_path: Path):
    check_weights(compose("run"), COMMANDS["run"], tmp_path)  # phantom-sd; without a folder LPIPS may be n/a
    check_weights(configured("finetune", f"model.name={tiny_sd}"), COMMANDS["finetune"], tmp_path)
    (tmp_path / "classify").mkdir()
    (tmp_path / "classify" / "manifest.json").write_text('{"status": "complete"}')
    check_weights(configured("classify"), COMMANDS["classify"], tmp_path)
    with pytest.raises(UserError, match="timm"):
        check_weights(configured("classify", "overwrite=true"), COMMANDS["classify"], tmp_path)


def test_caches_of_the_hub_and_of_torch_count(configured, tiny_sd: Path, tmp_path: Path):
    snapshot = tmp_path / "hub_cache" / "models--fake--tiny-sd" / "snapshots" / COMMIT
    shutil.copytree(tiny_sd, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    timm = tmp_path / "hub_cache" / "models--timm--efficientnet_b0.ra_in1k" / "snapshots" / COMMIT
    timm.mkdir(parents=True)
    (timm / "model.safetensors").touch()
    torch_hub = tmp_path / "torch_cache" / "hub" / "checkpoints"
    torch_hub.mkdir(parents=True)
    (torch_hub / weights.BACKBONES["alex"]).touch()
    check_weights(configured("run", "metric.lpips=[alex]"), COMMANDS["run"], tmp_path)


def test_without_a_folder_the_hub_must_answer(configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = configured("finetune", "weights_dir=null")
    with pytest.raises(UserError, match="not on this machine"):
        check_weights(cfg, COMMANDS["finetune"], tmp_path)  # the tests run under HF_HUB_OFFLINE
    for name in (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    check_weights(cfg, COMMANDS["finetune"], tmp_path)  # what is missing will be fetched
    server.close()
    with pytest.raises(UserError, match="cannot be reached"):
        check_weights(cfg, COMMANDS["finetune"], tmp_path)
    given_up = threading.Event()

    def silence(*_: Any, **__: Any) -> None:  # of a firewall that drops
        given_up.wait(30)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", silence)
    assert not preflight._answers("https://10.255.255.1", seconds=0.1)
    given_up.set()


def test_the_environment_names_the_folder_too(configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "shared"))
    with pytest.raises(UserError, match=f"{tmp_path}/shared/hub"):
        check_weights(configured("finetune", "weights_dir=null"), COMMANDS["finetune"], tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}/weights/hub"):
        check_weights(configured("finetune"), COMMANDS["finetune"], tmp_path)


def test_what_is_missing_is_said_before_anything_heavy_is_imported_and_without_a_request(tmp_path: Path):
    """So the message comes at once on any machine: it needs file names alone."""
    words = ["run", "model=sd15", "classifier=efficientnet_b0", f"weights_dir={tmp_path / 'weights'}"]
    script = (
        "import socket, sys\nfrom latentpath.cli import main\n"
        "def refuse(*_, **__): raise AssertionError('a request was made')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        f"try: main({words!r})\n"
        "except SystemExit as end: print(end.code, *{name.partition('.')[0] for name in sys.modules})"
    )
    # Not offline, for then no request is made anyway.
    env = os.environ | {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert "alexnet-owt-7be5be79.pth" in done.stderr
    status, *modules = done.stdout.split()
    assert status == "2"
    heavy = {"torch", "lightning", "diffusers", "transformers", "timm", "pandas", "numpy", "matplotlib"}
    assert not heavy & set(modules)


def _handler(root: Path, asked: list[str]) -> type[BaseHTTPRequestHandler]:
    """What of the hub's interface a download uses: information on a model, its list of files, the files."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            path = self.path.split("?")[0].strip("/")
            if path.startswith("api/models/"):
                self._information(path.removeprefix("api/models/"))
            else:
                self._file(path)

        def _information(self, path: str) -> None:
            model, _, rest = path.partition("/revision/")
            model, _, tree = model.partition("/tree/")
            if "gated" in model:
                return self._answer(403, {}, {"X-Error-Code": "GatedRepo"})
            if not (root / model).is_dir():
                return self._answer(404, {}, {"X-Error-Code": "RepoNotFound"})
            if rest == "no-such":
                return self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
            files = [f for f in sorted((root / model).rglob("*")) if f.is_file()]
            names = [f.relative_to(root / model).as_posix() for f in files]
            if tree:
                listed = [
                    {"type": "file", "path": n, "size": f.stat().st_size, "oid": "0" * 40}
                    for n, f in zip(names, files, strict=True)
                ]
                return self._answer(200, listed)
            self._answer(200, {"id": model, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]})

        def _file(self, path: str) -> None:
            model, _, rest = path.partition("/resolve/")
            file = root / model / rest.partition("/")[2]
            if not file.is_file():
                return self._answer(404, {}, {"X-Error-Code": "EntryNotFound"})
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._answer(200, content, {"ETag": etag, "X-Repo-Commit": COMMIT})

        def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Hub
