"""``import emotailor``: small, quick, and all that it promises is there."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import emotailor
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import MODEL, TRAINING, one_thread


def test_every_public_name_resolves() -> None:
    for name in emotailor.__all__:
        assert getattr(emotailor, name) is not None, name
    assert set(dir(emotailor)) == set(emotailor.__all__)
    assert len(emotailor.__all__) == len(set(emotailor.__all__))
    namespace: dict[str, object] = {}
    exec("from emotailor import *", namespace)
    assert set(emotailor.__all__) <= namespace.keys()


def test_checkers_and_programs_see_the_same_names() -> None:
    """What is imported for type checkers is what is looked up at run time, from the same place."""
    tree = ast.parse(Path(emotailor.__file__).read_text(encoding="utf-8"))
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emotailor."):
            for alias in node.names:
                seen[alias.asname or alias.name] = f"{node.module}:{alias.name}"
    homes = {
        name: home if ":" in home else f"{home}:{name}" for name, home in emotailor._HOMES.items()
    }
    assert seen == homes
    assert {*seen, "__version__"} == set(emotailor.__all__)


def test_a_wrong_name_or_argument_is_a_type_error(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        "import emotailor\n"
        "emotailor.trian\n"
        "emotailor.train({'data': {'path': 'x'}}, 'run', modle='mult')\n"
        "emotailor.evaluate('run', resamples='many')\n"
        "score: float = emotailor.evaluate('run').metrics.micro_f1\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "user.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in found.stdout.splitlines() if line.startswith("user.py")]
    assert [line.split(":")[1] for line in lines if ": error:" in line] == ["2", "3", "4"], (
        found.stdout
    )


def test_other_names_are_an_ordinary_error() -> None:
    name = "trian"
    with pytest.raises(AttributeError, match="module 'emotailor' has no attribute 'trian'"):
        getattr(emotailor, name)
    assert not hasattr(emotailor, "tailor")


def test_errors_can_be_caught_as_one() -> None:
    from emotailor.errors import ConfigError, DataError, ModelError

    codes = {error.exit_code for error in (ConfigError, DataError, ModelError)}
    assert codes == {3, 4, 5}
    for error in (ConfigError, DataError, ModelError):
        assert issubclass(error, emotailor.EmotailorError)
    assert str(DataError("a", expected="b", fix="c")) == "a\n  expected: b\n  to fix it: c"
    assert str(DataError("a", fix="c")) == "a\n  to fix it: c"


def test_importing_is_light() -> None:
    """Neither the package nor a mistake on the command line waits for torch."""
    code = (
        "import sys, json, emotailor, emotailor.cli\n"
        "emotailor.available_models(), emotailor.RunConfig, emotailor.EmotailorError\n"
        "heavy = ('torch', 'sklearn', 'h5py', 'accelerate', 'scipy', 'pandas')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
    assert found.stderr == ""


def test_from_arrays_to_a_prediction(tmp_path: Path) -> None:
    """The way of the first page of the documentation."""
    splits = {"train": 16, "valid": 8, "test": 5}
    emotailor.write_dataset(
        tmp_path / "data",
        {name: random_samples(count, prefix=name) for name, count in splits.items()},
        name="mine",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )
    dataset = emotailor.load_dataset(tmp_path / "data")
    assert isinstance(dataset, emotailor.EmotionDataset)
    config = emotailor.RunConfig.build(
        {"data": {"path": str(tmp_path / "data")}, "model": MODEL, "training": TRAINING}
    )
    with one_thread():
        result = emotailor.train(config, tmp_path / "run")
        assert result.run == tmp_path / "run"
        evaluation = emotailor.evaluate(result.run, resamples=0)
        assert 0 <= evaluation.metrics.micro_f1 <= 1
        predictor = emotailor.Predictor.load(str(result.run))
        words = np.zeros((4, 11), np.float32)
        (found,) = predictor.predict([emotailor.Sample("mine", {"text": words})], explain=True)
    assert set(found.probabilities) == set(LABELS)
    assert found.explanation is not None
    modality, first, last = found.explanation.strongest("happy")
    assert modality == "text"
    assert 0 <= first <= last < 4
