"""The table of systems, and systems from outside the package."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotailor.config import Config
from emotailor.errors import ConfigError
from emotailor.models import table
from emotailor.models.factory import model_class
from emotailor.models.system import System
from emotailor.models.table import SYSTEMS, available_models, find_system, use_system
from emotailor.training.run_config import RunConfig
from tests.own.my_model import MeanPool, MeanPoolConfig

FILE = Path(__file__).parents[1] / "own" / "my_model.py"
NAME = "tests.own.my_model:MeanPool"


@pytest.fixture(autouse=True)
def nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts without systems from outside."""
    monkeypatch.setattr(table, "_USED", {})


def test_a_class_is_a_system() -> None:
    row = use_system(MeanPool)
    assert (row.name, row.code, row.title, row.folder) == (NAME, NAME, "Mean pooling", "MeanPool")
    assert row.config is MeanPoolConfig
    assert find_system(NAME) is row
    assert model_class(NAME) is MeanPool
    assert row.recipes["paper"] == row.recipes["authors"] == {"learning_rate": 1e-2, "epochs": 3}
    assert list(row.variants) == ["linear"]
    assert NAME not in SYSTEMS
    assert NAME not in available_models()


def test_a_module_and_a_class_are_the_same_system() -> None:
    by_name = use_system(NAME)
    assert model_class(by_name.name) is MeanPool
    assert use_system(MeanPool) == by_name


def test_a_file_is_known_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = use_system(f"{FILE}:MeanPool")
    assert row.name == "my_model.py:MeanPool"
    assert row.code == f"{FILE.resolve()}:MeanPool"
    assert row.folder == "MeanPool"

    # its class, given as such, is the same system
    assert use_system(model_class(row.name)).name == row.name

    # moved to another folder, and named by a relative path
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my_model.py").write_bytes(FILE.read_bytes())
    monkeypatch.chdir(tmp_path)
    moved = use_system("other/my_model.py:MeanPool")
    assert moved.name == row.name
    assert moved.code == f"{tmp_path / 'other' / 'my_model.py'}:MeanPool"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [(NAME, f"--model {NAME}"), ("my_model.py:MeanPool", "--model PATH/my_model.py:MeanPool")],
)
def test_a_name_alone_loads_no_code(name: str, remedy: str) -> None:
    for module in [m for m in sys.modules if m.endswith("never_imported")]:
        del sys.modules[module]
    with pytest.raises(ConfigError) as caught:
        find_system(name)
    assert caught.value.fix is not None
    assert remedy in caught.value.fix
    with pytest.raises(ConfigError):
        find_system("tests.own.never_imported:Model")
    assert not any(m.endswith("never_imported") for m in sys.modules)


def test_a_file_without_a_class_is_told_which_it_has(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class (:")
    for file, named in ((FILE, "my_model.py:MeanPool"), (broken, "broken.py:Class")):
        with pytest.raises(ConfigError, match=r"is a file") as caught:
            use_system(str(file))
        assert named in str(caught.value.fix)


@pytest.mark.parametrize("reference", ["tests.own.my_model:MeanPoolConfig", "math:pi"])
def test_what_is_no_model_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="EmotionModel") as caught:
        use_system(reference)
    assert reference in caught.value.found


def test_settings_of_another_class_are_refused() -> None:
    use_system(MeanPool)
    with pytest.raises(ConfigError, match="MeanPoolConfig") as caught:
        RunConfig.build(
            {"data": {"path": "x"}, "model": SYSTEMS["tailor"].config()}, system=MeanPool
        )
    assert "TailorConfig" in caught.value.found
    with pytest.raises(ConfigError, match="BinaryRelevanceConfig"):
        RunConfig.build({"data": {"path": "x"}, "model": MeanPoolConfig()}, system="br")


def test_settings_and_recipe_of_a_class() -> None:
    config = RunConfig.build(
        {"data": {"path": "x"}, "model": {"hidden_size": 7}}, system=MeanPool, preset="authors"
    )
    assert config.system == NAME
    assert config.model == MeanPoolConfig(hidden_size=7)
    assert (config.training.learning_rate, config.training.epochs) == (1e-2, 3)
    assert RunConfig.parse(config.to_json()) == config
    with pytest.raises(ConfigError, match="hiden_size"):
        RunConfig.build({"data": {"path": "x"}, "model": {"hiden_size": 7}}, system=MeanPool)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with an entry point for one system."""
    (tmp_path / "plugged.py").write_bytes(FILE.read_bytes())
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emotailor.systems]\nmean_pool = plugged:MeanPool\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("plugged", None)


def test_an_installed_package_brings_systems(plugin: Path) -> None:
    assert available_models() == (*SYSTEMS, "mean_pool")
    assert "plugged" not in sys.modules
    row = find_system("mean_pool")
    assert (row.name, row.title, row.code) == ("mean_pool", "Mean pooling", None)
    assert model_class("mean_pool").__module__ == "plugged"
    with pytest.raises(ConfigError, match="did you mean mean_pool"):
        find_system("mean_pol")


def test_a_row_of_ones_own() -> None:
    row = System("mine", "Mine", "", MeanPoolConfig, MeanPool)
    assert use_system(row) is find_system("mine") is row
    assert row.preset("paper") == MeanPoolConfig()
    with pytest.raises(ConfigError, match="tailor"):
        use_system(System("tailor", "Mine", "", Config, MeanPool))
    assert find_system("tailor").title == "TAILOR"
