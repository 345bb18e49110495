"""What is installed: the wheel, the packages it asks for, and the steps of the Makefile."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from emotailor import __main__ as entrance
from emotailor import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "emotailor"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without any network."""
    hatchling = pytest.importorskip("hatchling.build")
    folder = tmp_path_factory.mktemp("wheel")
    before = Path.cwd()
    os.chdir(ROOT)  # where a build backend is called, by its standard
    try:
        name = hatchling.build_wheel(str(folder))
    finally:
        os.chdir(before)
    return folder / name


def project() -> dict[str, list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"product": settings["dependencies"], **settings["optional-dependencies"]}


def names(requirements: list[str]) -> set[str]:
    return {requirement.partition(">=")[0] for requirement in requirements}


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    source = {
        f"emotailor/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.startswith("emotailor/")}
    assert found == source
    # what is no module is read by the product
    assert {
        "emotailor/py.typed",
        "emotailor/data/mosei_statistics.json",
        "emotailor/report/page.css",
        "emotailor/commands/templates/model.py.txt",
        "emotailor/shipped/words/model.json",
        "emotailor/shipped/words/card.json",
    } <= found
    # the model that ships is most of it
    assert wheel.stat().st_size < 4_000_000


def test_the_wheel_works_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import emotailor, emotailor.__main__ as entrance; print(emotailor.__file__)\n"
    code += "entrance.main()"
    command = [sys.executable, "-c", code, "data", "synthesize", "--out=d", "--set=train=3"]
    command += ["--set=valid=2", "--set=test=2"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert (tmp_path / "d" / "dataset.json").is_file()


def test_a_user_gets_no_tools_of_developers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = f"emotailor-{__version__}.dist-info/METADATA"
        metadata = archive.read(name).decode().splitlines()
    required = [line.partition(": ")[2] for line in metadata if line.startswith("Requires-Dist")]
    plain = {line for line in required if "extra ==" not in line}
    assert names(sorted(plain)) == names(project()["product"])
    assert not names(project()["dev"]) & names(project()["product"])
    assert "Requires-Python: >=3.11" in metadata


def test_every_package_is_pinned_and_can_be_named_where_it_is_missing() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    for requirements in project().values():
        for package in names(requirements):
            assert f"\n{package}==" in pins, package
    assert set(entrance.NEEDED.values()) == names(project()["product"])


@pytest.mark.parametrize(("module", "package"), [("torch", "torch"), ("typer", "typer")])
def test_a_missing_package_ends_in_one_message(module: str, package: str) -> None:
    # what None stands for cannot be imported
    code = (
        f"import sys; sys.modules[{module!r}] = None\nfrom emotailor.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the package {package} is not installed\n")
    assert "Traceback" not in done.stderr


def test_a_missing_module_of_ours_is_a_bug_and_shows_where() -> None:
    code = "import sys; sys.modules['emotailor.cli'] = None\n"
    code += "from emotailor.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


# ---------------------------------------------------------------------- make


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["make", f"VENV={folder / 'venv'}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = script(
        tmp_path / "python", '[ "$1" = --version ] && { echo "Python 3.10.13"; exit; }; exit 1'
    )
    done = make(tmp_path, f"PYTHON={old}", "demo")
    assert done.returncode == 2  # of make
    assert f"error: {old} is Python 3.10.13\n" in done.stdout
    assert not (tmp_path / "venv").exists()

    absent = make(tmp_path, f"PYTHON={tmp_path / 'none'}", "demo")
    assert f"error: there is no {tmp_path / 'none'}\n" in absent.stdout


def test_make_demo_installs_the_product_alone(tmp_path: Path) -> None:
    demo = make(tmp_path, "--dry-run", "demo").stdout
    assert "--editable ." in demo
    assert "[dev" not in demo
    assert "--extra-index-url" not in demo
    assert (
        "[dev,export,hub,serve,text,track,tune,video]" in make(tmp_path, "--dry-run", "test").stdout
    )
    small = make(tmp_path, "--dry-run", "TORCH_INDEX=https://a.example/cpu", "demo").stdout
    assert "--extra-index-url https://a.example/cpu torch" in small
