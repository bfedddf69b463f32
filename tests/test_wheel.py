"""The wheel as a user gets it: built, installed into a new environment and run outside the repository."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CONF_DIR = "from latentpath.config.schema import conf_dir; print(conf_dir())"

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network by the backend that the lock pins."""
    out = tmp_path_factory.mktemp("dist")
    build = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    done = _run([sys.executable, "-c", build], cwd=ROOT)
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the wheel in it; its dependencies are this environment's.

    This environment's site-packages join as a plain path, so their .pth files are not read: the editable
    install of the repository stays out, and what is imported can only be the wheel.
    """
    home = tmp_path_factory.mktemp("environment")
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)], cwd=home)
    site_packages = _ask(home / "bin", "import sysconfig; print(sysconfig.get_path('purelib'))")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site_packages) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    script = home / "bin" / "latentpath"
    script.write_text(_entry_point(wheel, python=home / "bin" / "python"))
    script.chmod(0o755)
    return home / "bin"


def test_wheel_holds_configuration_and_assets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {
        f"latentpath/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")
    } | {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "latentpath").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.startswith("latentpath/conf/") for name in expected)
    assert expected <= inside
    assert "hydra_plugins/latentpath_optuna.py" in inside
    ours = ("latentpath/", "latentpath-", "hydra_plugins/latentpath_")
    assert not [name for name in inside if not name.startswith(ours)]


def test_package_and_configuration_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    home = str(installed.parent)
    package = _ask(installed, "import latentpath; print(latentpath.__file__)", cwd=tmp_path)
    assert package.startswith(home)
    conf = Path(_ask(installed, CONF_DIR, cwd=tmp_path))
    assert conf == Path(package).parent / "conf"
    assert (conf / "traverse.yaml").is_file()


def test_command_runs_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    command = installed / "latentpath"
    usage = _run([str(command), "--help"], cwd=tmp_path).stdout
    for name in ("finetune", "classify", "traverse", "evaluate", "report", "run"):
        assert name in usage
    job = _run([str(command), "traverse", "--cfg", "job"], cwd=tmp_path).stdout
    assert "dataset:" in job
    assert str(ROOT) not in job


def test_installed_configuration_is_the_one_read(installed: Path, tmp_path: Path) -> None:
    """A mark in the installed copy shows: the repository's files play no part."""
    conf = Path(_ask(installed, CONF_DIR, cwd=tmp_path))
    assert conf.is_relative_to(installed.parent)  # never write into the repository
    root = conf / "traverse.yaml"
    written = root.read_text()
    root.write_text(written + "\nnot_a_setting_of_latentpath: 1\n")
    try:
        done = _run([str(installed / "latentpath"), "traverse", "--cfg", "job"], cwd=tmp_path, check=False)
    finally:
        root.write_text(written)
    # The schema refuses the unknown key, or the printed job shows it: either way the file was read.
    assert "not_a_setting_of_latentpath" in done.stdout + done.stderr


def _entry_point(wheel: Path, *, python: Path) -> str:
    """The console script that an installer writes from the wheel's entry_points.txt."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        points = archive.read(name).decode()
    target = next(line.split("=")[1].strip() for line in points.splitlines() if line.startswith("latentpath"))
    module, function = target.split(":")
    return f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


def _ask(bin_dir: Path, code: str, *, cwd: Path | None = None) -> str:
    return _run([str(bin_dir / "python"), "-c", code], cwd=cwd or bin_dir).stdout.strip()


def _run(command: list[str], *, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH=src would put the repository before the wheel and every test here would pass without it.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if check:
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done
