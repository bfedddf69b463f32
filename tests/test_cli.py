"""The command line: quick answers, mistakes with their near match, every option, sweeps, completion."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from latentpath.cli import main
from latentpath.commands import COMMANDS
from latentpath.config.checks import check
from latentpath.config.schema import Config, conf_dir

GROUPS = sorted(
    (p.parent.relative_to(conf_dir()).as_posix(), p.stem)
    for p in conf_dir().glob("*/**/*.yaml")
    if "hydra" not in p.parts  # Hydra's own groups, which its command line composes
)

HEAVY = {
    *("torch", "torchvision", "lightning", "torchmetrics", "diffusers", "transformers", "timm", "peft"),
    *("numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "PIL", "wandb", "mlflow", "optuna"),
}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """`cli(*words)` -> (exit status, standard output, standard error), called here in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["latentpath"])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main(words)
            status = 0
        except SystemExit as exit:
            status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        out, err = capsys.readouterr()
        return status, out, err

    yield call
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def calls(monkeypatch):
    """Every command is replaced by one that notes (cfg, run_dir)."""
    noted: list[tuple[Any, Path]] = []
    for command in COMMANDS:
        module = SimpleNamespace(run=lambda cfg, run_dir: noted.append((cfg, run_dir)))
        monkeypatch.setitem(sys.modules, f"latentpath.commands.{command}", module)
    return noted


@pytest.mark.parametrize(
    "words, status, hydra_may_be",
    [
        (["--help"], 0, False),
        (["--version"], 0, False),
        (["tarverse"], 2, False),
        (["traverse", "timestep=paper"], 2, True),
        (["finetune", "--cfg", "job"], 0, True),
    ],
)
def test_an_answer_imports_nothing_heavy(words, status, hydra_may_be):
    """A list of modules in place of a time, because machines differ: these imports are what takes seconds."""
    script = (
        "import sys\nfrom latentpath.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit as end: status = end.code or 0\nelse: status = 0\n"
        "print(status, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    found, *modules = done.stderr.splitlines()[-1].split()
    assert int(found) == status, done.stderr
    assert "latentpath" in modules
    assert not (HEAVY | (set() if hydra_may_be else {"hydra"})) & set(modules)


def test_help_names_every_command(cli):
    status, out, _ = cli("--help")
    assert status == 0
    assert all(f"\n  {command} " in out for command in COMMANDS)


MISTAKES = {
    "command": ("tarverse", 2, "'traverse'"),
    "group": ("traverse datset=isic2019", 2, "'dataset'"),
    "option": ("traverse dataset=isic209", 2, "'isic2019'"),
    "option of an experiment": ("run experiment=demmo", 2, "'demo'"),
    "option null": ("run experiment=null", 2, "experiment has no option 'null'"),
    "option in a sweep": ("traverse -m dataset=isic2019,isic209", 2, "'isic2019'"),
    "section": ("traverse timestep.num_inference_steps=3", 2, "'timesteps'"),
    "key": ("finetune finetune.max_step=3", 2, "'max_steps'"),
    "key of a nested section": ("info dataset.captions.clas_names.MEL=x", 2, "'class_names'"),
    "no key=value": ("run demo", 2, "'demo' as an override: expected key=value"),
    "unreadable": ("run name=a=b[", 2, "'name=a=b['"),
    "not in quotes": ("run sampler.negative_prompt=flou,bruité", 2, "in two kinds of quotes"),
    "type": (
        "traverse sampler.seeds=many",
        2,
        "sampler.seeds=many: expected a whole number from 1 to 10,000,000.",
    ),
    "null": ("traverse sampler.seeds=null", 2, "sampler.seeds=null: expected a whole number from 1 to"),
    "a word for a list": ("report compare=mine", 2, "compare=mine: expected a list, compare=[...]; each"),
    "a list for a word": (
        "report figures=[svg]",
        2,
        "figures=[svg]: expected one of svg, pdf, png, or null.",
    ),
    "a list in a list": (
        "traverse timesteps.swap_steps=[[1]]",
        2,
        "timesteps.swap_steps is [[1]], expected a list, timesteps.swap_steps=[...]; each entry is a whole",
    ),
    "a number for a list of lists": (
        "traverse attribute.orders=[hair,ink]",
        2,
        "attribute.orders=[hair,ink]: expected a list of lists, attribute.orders=[[...]]; each entry is",
    ),
    "a number for named values": (
        "traverse +attribute.dials.ramp=3",
        2,
        "+attribute.dials.ramp=3: expected names with values, +attribute.dials.name=...; each value is a",
    ),
    "choice": ("info dataset.layout=isic", 2, "dataset.layout is 'isic'. Did you mean 'isic2019'?"),
    "interpolation to nothing": (
        "info dataset.root=${nothing.here}",
        2,
        "dataset.root refers to ${nothing.here}, but the configuration has no such key.",
    ),
    "environment": (
        "info dataset.root=${oc.env:NOT_THERE}",
        2,
        "dataset.root needs the environment variable NOT_THERE",
    ),
    "attribute": ("traverse attribute.names=[hiar]", 2, "'hair'"),
    "swap step": ("traverse timesteps.swap_steps=[5,60]", 2, "60 lies outside 0..50"),
    "swap step of a shorter sampler": (
        "traverse timesteps.num_inference_steps=20",
        2,
        "lies outside 0..20",
    ),
    "uneven batch": (
        "finetune dataset.root=x trainer.devices=2 finetune.batch_size=5",
        2,
        "2 cannot share it evenly. Take a multiple of 2, such as 6.",
    ),
    "uneven batch of the classifier": (
        "run dataset.root=x trainer.devices=2 classifier.batch_size=5",
        2,
        "classifier.batch_size is 5, of all processes together",
    ),
    "uneven batch of another command": (
        "classify dataset.root=x trainer.devices=2 finetune.batch_size=5",
        2,
        "need 2 processes, there is one",
    ),
    "negative offset": (
        "finetune dataset.root=x finetune.noise_offset=-1",
        2,
        "finetune.noise_offset is -1.0, expected a number from 0 (off) to 10.",
    ),
    "frames": ("evaluate metric.frames=1", 2, "metric.frames is 1, expected a number from 2 to 1,000."),
    "reserved name": (
        "info dataset.attributes=[hair,class] attribute.names=[hair]",
        2,
        "'class' is a name that tables need for the classifier's head",
    ),
    "joined name": (
        "info dataset.attributes=[hair+ink] attribute.names=[hair+ink]",
        2,
        "'hair+ink' is a name that tables need for hair and ink at once",
    ),
    "resamples": (
        "evaluate metric.resamples=0",
        2,
        "metric.resamples is 0, expected a number from 1 to 100,000.",
    ),
    "window": ("traverse timesteps.windows=[[5,5]]", 2, "[5, 5] is no window: expected [s, r]"),
    "combination": ("traverse attribute.combinations=[[hair,rular]]", 2, "Did you mean 'ruler'?"),
    "order of one": ("traverse attribute.orders=[[hair]]", 2, "should name two, each once"),
    "an order twice": (
        "traverse attribute.orders=[[hair,ink],[ink,hair]] timesteps.windows=[[1,3]]",
        2,
        "attribute.orders has hair and ink in two entries, expected one. One entry is edited in both orders.",
    ),
    "rounds of no inversion": ("traverse inversion.rounds=3", 2, "give inversion=ddim or inversion=ddpm too"),
    "a split without images": (
        "traverse dataset.root=x inversion=ddim inversion.split=val dataset.val_fraction=0",
        2,
        "inversion.split is val, and dataset.val_fraction is 0: this split has no images",
    ),
    "one run to compare": ("report compare=[mine]", 2, "compare names 1 run: give two or more"),
    "a run to compare with itself": (
        "report compare=[mine,mine]",
        2,
        "compare is ['mine', 'mine']: expected each",
    ),
    "a caption without its field": (
        "report dataset.captions.without_attributes=normal",
        2,
        "both need {cls} to tell",
    ),
    "a caption with another field": (
        "report dataset.captions.with_attributes='{attribute}'",
        2,
        "no field {attribute} in '{attribute}'; there are: {attributes}, {cls}.",
    ),
    "a format in a caption": (
        "report method=[swap,placebo] method.placebo.caption='{neutral:>999999999}'",
        2,
        "has a format or a conversion in braces, expected plain {cls}, {neutral}",
    ),
    "order without window": ("traverse attribute.orders=[[hair,ink]]", 2, "timesteps.windows"),
    "combination of one": ("traverse attribute.combinations=[[hair]]", 2, "should name two or more"),
    "eta of another solver": ("traverse sampler=euler sampler.eta=0.5", 2, "only ddim has it"),
    "batch size": ("traverse sampler.batch_size=large", 2, "expected a number from 1 to 65,536, or auto"),
    "half a place": (
        "traverse sampler.process=0",
        2,
        "give both sampler.process and sampler.processes, or neither",
    ),
    "place": ("traverse sampler.process=2 sampler.processes=2", 2, "expected 0..1"),
    "inversion": ("traverse inversion.method=dpm", 2, "Did you mean 'ddpm'?"),
    "inversion with another solver": (
        "traverse dataset.root=x inversion=ddpm sampler=euler",
        2,
        "it needs sampler.solver=ddim",
    ),
    "swap step twice": (
        "traverse timesteps.swap_steps=[5,5]",
        2,
        "timesteps.swap_steps is [5, 5]: expected each entry once",
    ),
    "strong swap step": (
        "evaluate metric.strong_swap_steps=[7]",
        2,
        "7 is not among timesteps.swap_steps [5, 10",
    ),
    "solver": ("traverse sampler.solver=dimm", 2, "'ddim'"),
    "eta": (
        "traverse sampler.eta=1.5",
        2,
        "sampler.eta is 1.5, expected a number from 0 (deterministic) to 1.",
    ),
    "tracker": ("finetune logger.name=wandbb", 2, "'wandb'"),
    "net": ("evaluate metric.lpips=[vgg16]", 2, "'vgg'"),
    "network": ("evaluate metric.features=[inceptionv3]", 2, "Did you mean 'inception'?"),
    "interpolation": ("evaluate metric.interpolations=[besier]", 2, "'bezier'"),
    "share": (
        "info dataset.val_fraction=1.5",
        2,
        "dataset.val_fraction is 1.5, expected a number from 0 to below 1.",
    ),
    "no class": ("info dataset.classes=[]", 2, "dataset.classes is empty: give at least one"),
    "nothing to traverse": ("traverse attribute.names=[]", 2, "attribute.names is empty"),
    "zero": (
        "finetune finetune.batch_size=0",
        2,
        "finetune.batch_size is 0, expected a number from 1 to 65,536.",
    ),
    "a number for a switch in a sweep": (
        "evaluate -m metric.tsne=true,7",
        2,
        "metric.tsne=true,7: expected true or false.",
    ),
    "a number for a switch": ("evaluate metric.tsne=7", 2, "metric.tsne=7: expected true or false."),
    "run elsewhere": (
        "report name=../x",
        2,
        "latentpath: name is '../x', expected the name of one folder in output_dir",
    ),
    "from elsewhere": ("report from_run=../x", 2, "from_run is '../x', expected the name of one folder"),
    "no folder": ("report output_dir=/dev/null", 2, "output_dir: /dev/null"),
    "no process": ("info output_dir=/proc/nothing", 2, "output_dir: /proc/nothing cannot be made"),
    "blank attribute": ("info dataset.attributes=[hair,''] attribute.names=[hair]", 2, "has the name ''"),
    "a mapping without +": (
        "info dataset.captions.attribute_names={hair:hairs}",
        2,
        "names are added to a mapping with +: +dataset.captions.attribute_names",
    ),
    "two loggers": ("finetune logger=[wandb,csv]", 2, "logger takes one option. Every logger also writes"),
    "key of its own": ("report +nothing=1", 2, "nothing"),
    "key of a section's own": ("report +sampler.nothing=1", 2, "nothing"),
    "blank root": ("info dataset.root=''", 2, "dataset.root is blank, expected a folder; dataset.root=. is"),
    "blank output_dir": ("report output_dir=''", 2, "output_dir is blank, expected a folder"),
    "blank model": ("finetune dataset.root=x model.name=''", 2, "model.name is blank, expected a folder"),
    "no root": ("info dataset=isic2019", 2, "Give it one: dataset.root=..."),
    "no attributes": ("report dataset=image_table", 2, "dataset.attributes is empty"),
}


@pytest.mark.parametrize("line, status, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_message_and_a_status(cli, calls, line, status, message):
    got, out, err = cli(*line.split(" "))
    assert (got, out) == (status, "")
    assert message in err
    assert "Traceback" not in err
    assert not calls


@pytest.mark.parametrize(
    "line",
    [
        "run ~experiment",
        "run dataset.captions.class_names.MEL=melanoma",
        "run +dataset.captions.class_names.XYZ=something",
        "report dataset=isic2019",  # reads no images, so it does without their root
        "run hydra.job.name=mine",
    ],
)
def test_what_is_no_mistake_reaches_the_command(cli, calls, line):
    status, _, err = cli(*line.split())
    assert (status, len(calls)) == (0, 1), err


def test_a_group_of_the_users_own_folder_is_found(cli, calls, tmp_path):
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "own.yaml").write_text(
        "root: /data/own\nclasses: [a]\nattributes: [b]\n"
    )
    status, _, err = cli("info", "--config-dir", str(tmp_path / "mine"), "dataset=own")
    assert (status, calls[0][0].dataset.root) == (0, "/data/own"), err


def test_the_run_folder_is_named_by_the_run(cli, calls, tmp_path):
    cli("report", "output_dir=here", "name=mine")
    assert calls[0][1].absolute() == tmp_path / "here" / "mine"


@pytest.mark.parametrize(
    "command", sorted({name for name, c in COMMANDS.items() if c.takes_config} - {"traverse"})
)  # traverse also prints the cost
def test_cfg_job_shows_the_whole_configuration(cli, calls, command):
    status, out, err = cli(command, "sampler.seeds=7", "--cfg", "job")
    shown = OmegaConf.create(out)
    assert status == 0, err
    assert set(shown) == {f.name for f in fields(Config)}
    assert shown.sampler.seeds == 7
    assert not calls


def fill(group: str, content: Any) -> list[str]:
    """Overrides for what an option leaves to the user, or takes from another data set."""
    overrides = []
    if group in ("dataset", "experiment"):
        overrides += ["dataset.root=x"] if content.get("root") in (None, "???") else []
        overrides += ["dataset.attributes=[a]"] if content.get("attributes") == "???" else []
    if group == "attribute" and isinstance(content["names"], list):
        overrides += [f"dataset.attributes=[{','.join(content['names'])}]"]
    return overrides


@pytest.mark.parametrize("group, option", GROUPS)
def test_every_option_of_every_group_binds_to_the_schema(compose, group, option):
    file = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml"))
    assert isinstance(file, dict)
    chosen = f"[{','.join(dict.fromkeys(['swap', option]))}]" if group == "method" else option
    cfg = compose("run", f"{group}={chosen}", *fill(group, file))
    assert OmegaConf.get_type(cfg) is Config
    check(cfg)
    bound = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(bound, dict)
    file.pop("defaults", None)
    sections = {"experiment": bound, "method": bound["method"][option] if group == "method" else {}}
    whole = bound if group in file else sections.get(group) or bound[group]
    assert_within(file, whole)


def assert_within(part: dict, whole: dict) -> None:
    """Every value of the file is the composed one, but for references and what was left to the user."""
    for key, value in part.items():
        if isinstance(value, dict):
            assert_within(value, whole[key])
        elif not str(value).startswith(("???", "${", "['${")):
            assert whole[key] == value, key


def test_a_sweep_gives_each_job_a_folder_that_stays_its_own(cli, calls, tmp_path):
    words = ("finetune", "-m", "finetune.lr=1e-4,3e-4", "seed=0,1", f"output_dir={tmp_path}", "name=mine")
    assert cli(*words)[0] == 0
    first = [run_dir for _, run_dir in calls]
    assert [(cfg.finetune.lr, cfg.seed) for cfg, _ in calls] == [(1e-4, 0), (1e-4, 1), (3e-4, 0), (3e-4, 1)]
    assert len(set(first)) == 4
    assert {folder.parent for folder in first} == {tmp_path / "mine"}
    calls.clear()
    assert cli(*words)[0] == 0
    assert [run_dir for _, run_dir in calls] == first


@pytest.mark.parametrize(
    "line, proposed",
    [
        ("latentpath ", set(COMMANDS)),
        ("latentpath re", {"report"}),
        ("latentpath traverse dataset=isic", {"dataset=isic2019"}),
        ("latentpath traverse experi", {"experiment="}),
        ("latentpath traverse sampler.guid", {"sampler.guidance_scale=", "sampler.guidance_rescale="}),
        ("latentpath traverse seed=1 dataset=isic", {"dataset=isic2019"}),
    ],
)
def test_completion_proposes_commands_groups_and_keys(cli, monkeypatch, line, proposed):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    status, out, _ = cli("-sc", "query=bash")
    assert (status, set(out.split())) == (0, proposed)


def test_looking_at_a_sweep_tells_its_cost_and_stays_yaml(cli, tmp_path):
    status, out, err = cli("traverse", "--cfg", "job", "timesteps=paper")
    assert status == 0, err
    assert OmegaConf.create(out).timesteps.one_step_late is True
    # 16 seeds of two classes; one step late saves a call a branch
    assert f"# U-Net calls   {2 * 16 * (50 + 4 * sum(49 - s for s in range(5, 50, 5))):,} " in out
    assert "# FLOP          " in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--help", "run --help", "power --help", "leaderboard --help"])
def test_an_output_whose_reader_has_ended_is_no_error(words):
    """`latentpath run --help | head -1` once said that output_dir cannot be made."""
    line = [sys.executable, "-m", "latentpath", *words.split()]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in (0, 141)  # argparse itself takes it for success
