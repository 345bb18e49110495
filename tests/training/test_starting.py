"""Training that starts from a trained model: which weights are taken, and that nothing else is."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import emotailor
from emotailor.data.extraction import Extraction
from emotailor.data.sample import Modality
from emotailor.data.store import write_dataset
from emotailor.errors import ConfigError, ModelError
from emotailor.models.base import EmotionModel
from emotailor.training.model_folder import load_model
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult
from emotailor.training.setup import TrainingData
from emotailor.training.starting import load_start
from tests.helpers import DIMS, LABELS, random_samples
from tests.models.adapters.runs import make_home
from tests.models.adapters.runs import settings as adapted_settings
from tests.runs.runs import MODEL, TRAINING, run_cli

OTHER_ORDER = ("angry", "happy", "sad")


class Listening(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def store(path: Path, *, labels: Sequence[str] = LABELS, **card: Any) -> Path:
    """A small data set whose labels have other names, or another order."""
    order = [LABELS.index(name) if name in LABELS else j for j, name in enumerate(labels)]
    splits = {}
    for k, (split, size) in enumerate({"train": 23, "valid": 11, "test": 7}.items()):
        samples = random_samples(size, seed=k, prefix=split)
        for sample in samples:
            assert sample.labels is not None
            sample.labels[:] = sample.labels[order]
        splits[split] = samples
    dims: dict[Modality, int] = dict(DIMS)
    write_dataset(path, splits, name="other", label_names=labels, dims=dims, aligned=True, **card)
    return path


def settings(data: Path, **training: Any) -> dict[str, Any]:
    return {"data": {"path": str(data)}, "training": {**TRAINING, **training}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained TAILOR of three modalities."""
    home = tmp_path_factory.mktemp("source")
    run = home / "run"
    emotailor.train({**settings(store(home / "data")), "model": MODEL}, run)
    return run


@pytest.fixture(scope="module")
def text_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained TAILOR of text alone."""
    home = tmp_path_factory.mktemp("text")
    given = {**settings(store(home / "data")), "model": MODEL}
    given["data"]["modalities"] = ["text"]
    emotailor.train(given, home / "run")
    return home / "run"


def built(given: dict[str, Any], run: Path, **options: Any) -> tuple[EmotionModel, list[str]]:
    """The model as a training starts with it, and what was said of it."""
    config = RunConfig.for_data(given, **options)
    reporter = Listening()
    data = TrainingData(config, reporter, load_start(config.training, run))
    return data.build(), reporter.said


def weights(model: EmotionModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def of_run(run: Path) -> dict[str, torch.Tensor]:
    return weights(load_model(run).model)


def test_all_weights_are_taken_where_everything_fits(source: Path, tmp_path: Path) -> None:
    given = settings(store(tmp_path / "data"), start_from=str(source), seed=7)
    model, said = built(given, tmp_path / "run")
    found, expected = weights(model), of_run(source)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    count = len(found)
    assert f"{count} of {count} weights" in said[-1]
    assert said[-1].endswith("none is fresh")


def test_labels_are_matched_by_name(source: Path, tmp_path: Path) -> None:
    data = store(tmp_path / "data", labels=OTHER_ORDER)
    model, said = built(settings(data, start_from=str(source)), tmp_path / "run")
    assert said[-1].endswith("none is fresh")
    found, expected = weights(model), of_run(source)
    order = [LABELS.index(name) for name in OTHER_ORDER]
    heads = ["decoder.embedding.weight", "classifier.weight", "classifier.bias"]
    heads += ["common_classifier.weight", "common_classifier.bias"]
    for name, tensor in found.items():
        rows = expected[name][order] if name in heads else expected[name]
        assert torch.equal(tensor, rows), name


def test_other_labels_get_a_fresh_head(source: Path, tmp_path: Path) -> None:
    for number, labels in enumerate([("happy", "sad", "bored"), ("happy", "sad")]):
        data = tmp_path / f"data{number}"
        if len(labels) == 3:
            store(data, labels=labels)
        else:
            samples = {
                "train": random_samples(11, labels=2),
                "valid": random_samples(5, labels=2, prefix="valid"),
            }
            write_dataset(data, samples, name="two", label_names=labels, dims=DIMS, aligned=True)
        model, said = built(settings(data, start_from=str(source)), tmp_path / "run")
        fresh, _ = built({**settings(data), "model": MODEL}, tmp_path / "run")
        found, expected, drawn = weights(model), of_run(source), weights(fresh)
        heads = {n for n in found if n.startswith(("decoder.embedding", "classifier", "common_cl"))}
        assert len(heads) == 5
        for name, tensor in found.items():
            wanted = drawn if name in heads else expected
            assert torch.equal(tensor, wanted[name]), name
        ends = "fresh: common_classifier.weight (1), common_classifier.bias (1), "
        assert ends in said[-1]


def test_a_text_branch_finds_its_place_among_three_modalities(
    text_source: Path, tmp_path: Path
) -> None:
    given = settings(store(tmp_path / "data"), start_from=str(text_source))
    model, said = built(given, tmp_path / "run")
    found, expected = weights(model), of_run(text_source)

    taken = set()
    for name, tensor in expected.items():
        # what joins C is the last of three fusions here, and has more places in front of it
        here = name.replace("fusion.0.", "fusion.2.")
        if "position" in name and "fusion" in name:
            assert found[here].shape != tensor.shape
            continue
        if name.startswith("discriminator"):
            continue
        assert torch.equal(found[here], tensor), name
        taken.add(here)

    assert {"encoders.text.projection.weight", "generator.0.weight"} <= taken
    others = ("encoders.visual", "encoders.audio", "extractors.visual", "extractors.audio",
              "fusion.0", "fusion.1", "discriminator", "fusion.2.embedding.position")  # fmt: skip
    assert all(name.startswith(others) for name in found.keys() - taken)
    assert f"{len(taken)} of {len(found)} weights" in said[-1]


def test_features_are_standardised_as_those_of_the_source(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    samples = {
        "train": random_samples(9, seed=8),
        "valid": random_samples(5, seed=9, prefix="valid"),
    }
    write_dataset(data, samples, name="few", label_names=LABELS, dims=DIMS, aligned=True)
    config = RunConfig.for_data(settings(data, start_from=str(source)))
    reporter = Reporter()
    start = load_start(config.training, tmp_path / "run")
    assert start is not None
    found = TrainingData(config, reporter, start).standardizer
    own = TrainingData(config, reporter).standardizer
    theirs = load_model(source).standardizer
    assert found is not None
    assert own is not None
    assert theirs is not None
    for m in DIMS:
        assert found.mean[m].tolist() == theirs.mean[m].tolist() != own.mean[m].tolist()
        assert found.std[m].tolist() == theirs.std[m].tolist()


class StopError(Exception):
    """Stops a training after an epoch."""


def stop(_: object) -> bool:
    raise StopError


def test_a_resumed_run_needs_its_source_no_more(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    given = settings(store(tmp_path / "data"), start_from=str(copy))
    whole = emotailor.train(given, tmp_path / "whole")

    with pytest.raises(StopError):
        emotailor.train(given, tmp_path / "run", on_epoch=stop)
    shutil.rmtree(copy)
    resumed = emotailor.train(given, tmp_path / "run")
    assert [one.train for one in resumed.history] == [one.train for one in whole.history]
    expected = of_run(tmp_path / "whole")
    for name, tensor in of_run(tmp_path / "run").items():
        assert torch.equal(tensor, expected[name]), name

    # a run that has trained nothing yet starts from its copy, too
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    shutil.rmtree(tmp_path / "run" / "model")
    again = emotailor.train(given, tmp_path / "run")
    assert [one.train for one in again.history] == [one.train for one in whole.history]
    with pytest.raises(ModelError, match="no trained model"):
        emotailor.train(given, tmp_path / "new")


def test_the_command_goes_on_without_the_source(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    data = store(tmp_path / "data")
    command: list[str | Path] = [
        "train",
        "--data",
        data,
        "--start-from",
        copy,
        "--out",
        tmp_path / "run",
    ]
    command += ["--epochs", "1", "--set", "training.device=cpu"]
    done = run_cli(*command, width=300)
    assert done.code == 0, done
    assert "started from" in done.out + done.err

    shutil.rmtree(copy)
    again = run_cli(*command, width=300)
    assert again.code == 0, again
    assert "already trained" in again.out + again.err
    run_cli(*command[:3], "--out", tmp_path / "run").failed(3, "other settings")


def test_gradients_reach_every_weight(text_source: Path, tmp_path: Path) -> None:
    given = settings(store(tmp_path / "data"), start_from=str(text_source), epochs=1)
    model, _ = built(given, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in weights(model).items()}
    emotailor.train(given, tmp_path / "run")
    after = of_run(tmp_path / "run")
    # position tables are longer than any sample
    still = [name for name, old in before.items() if torch.equal(after[name], old)]
    assert still == []


def test_a_start_from_features_of_another_kind_is_refused(source: Path, tmp_path: Path) -> None:
    def extraction(extractor: str, digest: str) -> dict[Modality, Extraction]:
        return {
            "text": Extraction(extractor=extractor, version="1", settings={}, sha256=digest * 64)
        }

    first = store(tmp_path / "first", extraction=extraction("one", "0"))
    run = tmp_path / "run"
    emotailor.train({**settings(first, epochs=1), "model": MODEL}, run)
    second = store(tmp_path / "second", extraction=extraction("another", "1"))
    with pytest.raises(ModelError, match=r"text of other was extracted with another"):
        emotailor.train(settings(second, start_from=str(run)), tmp_path / "refused")

    dims: dict[Modality, int] = {"text": DIMS["text"] + 1}
    samples = random_samples(7)
    wide = [emotailor.Sample(s.id, {"text": torch.zeros(3, 12).numpy()}, s.labels) for s in samples]
    write_dataset(
        tmp_path / "wide",
        {"train": wide[:4], "valid": wide[4:]},
        name="wide",
        label_names=LABELS,
        dims=dims,
        aligned=True,
    )
    with pytest.raises(ModelError, match=r"text of wide has 12 features[\s\S]*the 11 that"):
        emotailor.train(settings(tmp_path / "wide", start_from=str(source)), tmp_path / "refused")
    with pytest.raises(ConfigError, match="fitted at once"):
        emotailor.train(settings(first, start_from=str(source)), tmp_path / "refused", model="br")
    assert not (tmp_path / "refused").exists()


def adapted(home: Path, run: Path, **training: Any) -> TrainResult:
    given = adapted_settings(home)
    given["training"] = {**TRAINING, **training}
    return emotailor.train(given, run)


def test_another_system_takes_the_adapters_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    adapted(home, tmp_path / "source", epochs=1)
    expected = of_run(tmp_path / "source")
    given = {
        "data": {"path": str(home / "data")},
        "training": {**TRAINING, "start_from": str(tmp_path / "source")},
    }
    model, _ = built(given, tmp_path / "run", system="lsan")
    found = weights(model)
    adapters = [name for name in found if name.startswith("adapters.")]
    assert len(adapters) > 10
    for name in adapters:
        assert torch.equal(found[name], expected[name]), name

    # trained along from the first update on, with the settings of the source
    config = RunConfig.for_data(given, system="lsan")
    assert (config.adapters.rank, config.adapters.start) == (3, 0.0)
    with pytest.raises(ConfigError, match=r"nothing of .* fits"):
        built({**given, "adapters": {"rank": 0}}, tmp_path / "run", system="lsan")
