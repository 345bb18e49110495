"""Whole runs with a text encoder that is trained along."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import emotailor
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, ModelError
from emotailor.models.adapters.model import TextAdapted
from emotailor.training.history import EpochRecord
from emotailor.training.model_folder import load_model, save_card
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData
from emotailor.training.sizes import size_of
from tests.encoders import tiny
from tests.models.adapters.runs import SPLITS, make_home, settings
from tests.runs.runs import MODEL, check_two_processes, one_thread, run_cli


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    with one_thread():
        emotailor.train(settings(home), home / "run")
    return home / "run"


def test_the_model_folder_holds_the_adapters_and_not_the_encoder(home: Path, run: Path) -> None:
    loaded = load_model(run)
    assert isinstance(loaded.model, TextAdapted)
    assert loaded.card.adapters.rank == 3
    (file,) = (run / "model").glob("weights-*.safetensors")
    from safetensors.torch import load_file

    names = load_file(file)
    adapters = {n: x for n, x in names.items() if n.startswith("model.adapters.")}
    # two layers of four maps 12 to 12, one 12 to 17 and one 17 to 12, each of rank 3
    assert sum(x.numel() for x in adapters.values()) == 2 * 3 * (4 * 24 + 2 * 29)
    assert any(x.any() for n, x in adapters.items() if n.endswith(".up"))
    assert not any("pieces" in name or "places" in name for name in names)
    size = size_of(RunConfig.build(settings(home)), open_dataset(home / "data"))
    assert size.parameters == sum(p.numel() for p in loaded.model.parameters())
    # a layer: four maps 12 to 12, two between 12 and 17, and two normalisations
    assert size.frozen == 2 * (4 * (144 + 12) + (204 + 17) + (204 + 12) + 2 * 24)


def test_a_trained_encoder_differs_from_a_frozen_one_and_starts_as_it(home: Path) -> None:
    found = []
    for rank in (0, 3):
        data = TrainingData(RunConfig.build(settings(home, rank=rank)), Reporter())
        model = data.build().eval()
        with torch.no_grad():
            found.append(model(data.batch(np.arange(7))).logits)
    assert (found[0] - found[1]).abs().max() < 0.05  # stored in float16
    assert found[0].std() > 0.01


def test_texts_are_predicted_as_from_a_stored_set(home: Path, run: Path) -> None:
    text = tiny.said(len(SPLITS))[30]
    first = emotailor.predict_texts(run, [text], explain=True)[0]
    stored = emotailor.predict(run, home / "data", split="test", ids=["v30[0]"])[0]
    for name, p in stored.probabilities.items():
        assert first.probabilities[name] == pytest.approx(p, abs=1e-6)
    assert first.explanation is not None
    assert first.explanation.words == {"text": text.split()}
    done = run_cli("predict", run, "--text", text)
    assert done.code == 0


def test_features_without_words_are_refused(home: Path, run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", text=np.ones((4, 12), np.float32))
    done = run_cli("predict", run, tmp_path / "x.npz")
    assert done.code != 0
    assert "has no words for 4 steps of text" in done.err + done.out
    assert "Traceback" not in done.err


def test_a_resumed_training_ends_with_the_same_model(home: Path, run: Path, tmp_path: Path) -> None:
    def stop(record: EpochRecord) -> None:
        raise RuntimeError(record.epoch)

    with one_thread():
        with pytest.raises(RuntimeError):
            emotailor.train(settings(home), tmp_path / "run", on_epoch=stop)
        again = emotailor.train(settings(home), tmp_path / "run")
    whole = load_model(run)
    found = load_model(again.run)
    for name, x in whole.model.state_dict().items():
        assert torch.equal(x, found.model.state_dict()[name]), name


def test_two_processes_train_as_one(home: Path, tmp_path: Path) -> None:
    """The adapters rest in the first of two epochs; then each process has half of every batch."""
    still = {"dropout": 0.0, "encoder_dropout": 0.0}
    chosen = settings(home, **still)
    chosen["model"] = {**MODEL, "dropout": 0.0, "refinement_dropout": 0.0}
    with one_thread():
        alone = emotailor.train(chosen, tmp_path / "one")

    check_two_processes(chosen, alone, tmp_path)


def test_the_encoder_must_be_the_one_of_the_features(home: Path, run: Path, tmp_path: Path) -> None:
    other = tiny.write_bert(tmp_path / "tiny-bert", seed=1)
    with pytest.raises(ModelError, match="text of the encoder"):
        emotailor.train(settings(home, encoder=str(other)), tmp_path / "run")

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    card = load_model(copy).card
    assert card.adapters.encoder is not None
    assert Path(card.adapters.encoder) == home / "tiny-bert"

    # the model is no model without it
    gone = card.adapters.replace(encoder=str(tmp_path / "gone"))
    save_card(copy / "model", card.model_copy(update={"adapters": gone}))
    with pytest.raises(ModelError, match=r"needs its text encoder: the encoder .*gone") as caught:
        load_model(copy)
    assert "weights" in str(caught.value.expected)
    assert "put it back" in str(caught.value.fix)
    done = run_cli("predict", copy, "--text", "so great")
    assert (done.code, "Traceback" in done.err) == (5, False)


def test_what_cannot_be_trained_along(home: Path, tmp_path: Path) -> None:
    done = run_cli(
        "train", "--data", home / "data", "--model", "br", "--set", "adapters.rank=2", "-o",
        tmp_path / "run",
    )  # fmt: skip
    assert done.code == 3
    assert "BR is fitted at once" in done.err
    with pytest.raises(ConfigError, match="made by tiny-bert"):
        emotailor.train(settings(home, encoder=None), tmp_path / "run")
