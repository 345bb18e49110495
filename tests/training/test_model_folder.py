"""Model folders: what is loaded is what was saved, and damage is one message."""

import errno
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotailor.data.store import open_dataset
from emotailor.errors import ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.files import sha256_of, write_json
from emotailor.models.factory import build_model
from emotailor.serving.predictor import Predictor
from emotailor.training import model_folder
from emotailor.training.model_folder import (
    ModelCard,
    check_model,
    find_model_folder,
    load_model,
    load_tensors,
    read_model_card,
    save_model,
    save_tensors,
)
from emotailor.training.setup import device_name
from tests.helpers import DIMS, SMALL, descriptors
from tests.runs.runs import train_tiny


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("run") / "run") / "model"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "mödel copy"))


def weights_file(folder: Path) -> Path:
    (file,) = folder.glob("weights-*.safetensors")
    return file


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of ``model.json``; a change to None removes the field."""
    card = json.loads((folder / "model.json").read_text())
    card = {k: v for k, v in {**card, **changes}.items() if v is not None}
    write_json(folder / "model.json", card)


def test_every_loaded_tensor_has_aligned_memory_of_its_own(tmp_path: Path) -> None:
    saved = {name: torch.arange(size) / 7 for name, size in (("a", 3), ("b", 5), ("c", 11))}
    save_tensors(saved, tmp_path / "odd.safetensors")
    loaded = load_tensors(tmp_path / "odd.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
    assert [tensor.data_ptr() % 64 for tensor in loaded.values()] == [0, 0, 0]
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) == 3


def test_saved_and_loaded_predicts_the_same_bits(data: Path, trained: Path, tmp_path: Path) -> None:
    loaded = load_model(trained)
    split = open_dataset(data)["test"]
    before = Predictor(loaded).predict_proba(split)
    again = save_model(tmp_path / "copy", loaded.card, loaded.model, loaded.standardizer)
    assert again == loaded.card
    after = Predictor.load(tmp_path / "copy", device="cpu").predict_proba(split)
    assert before.tobytes() == after.tobytes()
    assert weights_file(tmp_path / "copy").read_bytes() == weights_file(trained).read_bytes()


def test_a_model_without_standardisation_round_trips(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = build_model("tailor", SMALL, DIMS, 3).eval()
    card = model_folder.ModelCard(
        system="tailor",
        config=SMALL.to_json(),
        label_names=("a", "b", "c"),
        dims=DIMS,
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(("a", "b", "c"), 0.25)},
    )
    save_model(tmp_path / "m", card, model, None)
    loaded = load_model(tmp_path / "m")
    assert loaded.standardizer is None
    assert not loaded.model.training
    assert loaded.card.dims == DIMS
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name]), name
    assert Predictor(loaded).thresholds.tolist() == [0.25, 0.25, 0.25]


def test_half_precision_takes_half_the_space_and_rounds(trained: Path, tmp_path: Path) -> None:
    loaded = load_model(trained)
    save_model(tmp_path / "half", loaded.card, loaded.model, loaded.standardizer, half=True)
    stored = load_file(weights_file(tmp_path / "half"))
    again = load_model(tmp_path / "half")
    for name, parameter in loaded.model.named_parameters():
        assert stored[f"model.{name}"].dtype == torch.float16, name
        rounded = parameter.half().float()
        found = again.model.get_parameter(name)
        assert found.dtype == torch.float32, name
        assert torch.equal(found, rounded), name
    # what standardises the features is not rounded
    assert loaded.standardizer is not None
    assert again.standardizer is not None
    for m, mean in loaded.standardizer.mean.items():
        np.testing.assert_array_equal(again.standardizer.mean[m], mean)
    half, whole = weights_file(tmp_path / "half"), weights_file(trained)
    assert half.stat().st_size < 0.7 * whole.stat().st_size


def test_a_card_may_say_which_thresholds_decide(folder: Path) -> None:
    assert Predictor.load(folder).mode == "tuned"
    edit(folder, decides="share")
    assert Predictor.load(folder).mode == "share"
    assert Predictor.load(folder, thresholds="macro").mode == "macro"
    edit(folder, decides="share", thresholds={"fixed": THRESHOLDS["fixed"]})
    with pytest.raises(ModelError):
        Predictor.load(folder)


def test_loading_leaves_the_random_state_alone(trained: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_model(trained)
    assert torch.equal(torch.rand(3), expected)


def test_a_run_folder_is_as_good_as_its_model_folder(trained: Path) -> None:
    assert load_model(trained.parent).card == load_model(trained).card


def test_the_files_are_not_private(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    ordinary = stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in trained.iterdir()}
    assert set(modes.values()) == {ordinary}, modes
    assert len(modes) == 2


def test_a_kill_between_weights_and_card_leaves_the_old_model(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_dataset(data)["test"]
    loaded = load_model(folder)
    before = Predictor(loaded).predict_proba(split)
    old = weights_file(folder).name

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with torch.no_grad():
        next(loaded.model.parameters()).add_(1)
    with monkeypatch.context() as patch:
        patch.setattr(model_folder, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            save_model(folder, loaded.card, loaded.model, loaded.standardizer)
    assert len(list(folder.glob("weights-*"))) == 2
    assert Predictor.load(folder, device="cpu").predict_proba(split).tobytes() == before.tobytes()
    # the next save takes its place and cleans up
    save_model(folder, loaded.card, loaded.model, loaded.standardizer)
    assert weights_file(folder).name != old
    assert Predictor.load(folder, device="cpu").predict_proba(split).tobytes() != before.tobytes()
    assert {p.suffix for p in folder.iterdir()} == {".json", ".safetensors"}


def _truncate(folder: Path) -> None:
    file = weights_file(folder)
    file.write_bytes(file.read_bytes()[:-5])


def _flip(folder: Path) -> None:
    file = weights_file(folder)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _empty(folder: Path) -> None:
    weights_file(folder).write_bytes(b"")


def _remove(folder: Path) -> None:
    weights_file(folder).unlink()


def _text_with_its_hash(folder: Path) -> None:
    file = weights_file(folder)
    file.write_text("no safetensors at all")
    edit(folder, weights={"file": file.name, "sha256": sha256_of(file)})


def _card(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.json").write_text(text)


def _edit(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, **changes)


def _elsewhere(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = weights_file(folder)
        target = folder / name
        shutil.copy(file, target)
        edit(folder, weights={"file": name, "sha256": sha256_of(file)})

    return spoil


def _other_size(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    edit(folder, config={**card["config"], "feedforward_size": 18})


def _huge(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    edit(folder, config={**card["config"], "hidden_size": 3 * 10**9})


def _no_standardisation(folder: Path) -> None:
    file = weights_file(folder)
    kept = {k: v for k, v in load_file(file).items() if not k.startswith("standardizer")}
    save_file(kept, file)
    edit(folder, weights={"file": file.name, "sha256": sha256_of(file)})


THRESHOLDS = {"fixed": {"mode": "fixed", "values": {"happy": 0.3, "sad": 0.3, "joy": 0.3}}}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, r"SHA-256 differs[\s\S]*copy the model folder again"),
        (_flip, "SHA-256 differs"),
        (_empty, "SHA-256 differs"),
        (_remove, r"weights-.*safetensors cannot be read: .*No such file"),
        (_text_with_its_hash, "cannot be read"),
        (_card(""), r"model.json is damaged: Expecting value"),
        (_card("{"), "damaged"),
        (_card("[]"), "damaged"),
        (_card("\x00\x01"), "damaged"),
        (_edit(schema_version=6), r"schema_version: .*less than or equal to 5[\s\S]*version 5"),
        (_edit(format="something"), "damaged or of another version: format"),
        (_edit(from_the_future=1), "from_the_future: Extra inputs are not permitted"),
        (_edit(dims={"visual": -5}), r"dims.visual: .*greater than or equal to 1"),
        (_edit(dims={"smell": 5}), "dims.smell"),
        (_edit(dims={}), "dims"),
        (_edit(label_names=["happy", "happy", "sad"]), "label_names must be distinct"),
        (_edit(label_names=[]), "label_names"),
        (_edit(thresholds={}), "thresholds"),
        (_edit(thresholds=THRESHOLDS), "thresholds.fixed must be for the labels in label_names"),
        (_edit(weights=None), "names no weights file"),
        (_edit(weights={"file": "../w.safetensors", "sha256": "0" * 64}), "weights.file"),
        (_elsewhere("../weights.safetensors"), "weights.file"),
        (_elsewhere(".hidden"), "weights.file"),
        (_edit(dims={"visual": 5, "audio": 7}), r"does not fit the settings in model.json"),
        (_edit(dims={"visual": 5, "audio": 7, "text": 12}), r"has the shape \(12, 11\), not"),
        (_other_size, r"has the shape \(17(, 12)?,?\), not \(18"),
        (_huge, "does not fit the settings"),
        (_no_standardisation, r"does not fit the settings in model.json: 'standardizer"),
    ],
)
def test_damage_is_one_message(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert caught.value.exit_code == 5
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "oracle"}, "unknown model 'oracle'"),
        ({"config": {"hidden_size": 12, "heads": 3, "colour": "red"}}, "colour = 'red'"),
        ({"config": {"hidden_size": 12, "heads": 5}}, "hidden_size 12 must be a multiple"),
    ],
)
def test_settings_this_version_does_not_know(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelError, match=rf"model.json: .*{message}[\s\S]*version of emotailor"):
        load_model(folder)


def test_the_card_says_on_what_it_was_trained(trained: Path) -> None:
    device = read_model_card(trained).device
    assert device == device_name(torch.device("cpu"))
    assert device.endswith(" (cpu)")
    assert len(device) > len(" (cpu)")


def test_a_checkpoint_is_named_as_a_remedy(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run / "model")
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "state.json").write_text("{}")
    _truncate(run / "model")
    with pytest.raises(ModelError, match=r"SHA-256[\s\S]*fix it: run its `emotailor train` again"):
        load_model(run)
    (run / "model" / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no trained model[\s\S]*run its `emotailor train` again"):
        load_model(run)


@pytest.mark.parametrize("below", ["seed7", "tailor/seed7"])
def test_a_folder_of_runs_names_one_of_them(tmp_path: Path, below: str) -> None:
    card = tmp_path / below / "model" / "model.json"
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    with pytest.raises(ModelError, match=rf"a run in it, such as .*{below}"):
        find_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("missing", "no trained model at .*x, which does not exist"),
        ("empty folder", "no trained model at .*x$"),
        ("file", "x is a file$"),
    ],
)
def test_no_model_at_all(tmp_path: Path, kind: str, found: str) -> None:
    path = tmp_path / "x"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert re.search(found, caught.value.found)


def test_the_card_says_where_the_model_comes_from(data: Path, trained: Path) -> None:
    card = read_model_card(trained)
    assert card.data == {"name": "small", "fingerprint": open_dataset(data).card.fingerprint}
    assert set(card.versions) == {"emotailor", "torch"}
    assert card.selection["epoch"] in (1, 2)
    assert np.isfinite(card.selection["valid"]["micro_f1"])


@pytest.mark.parametrize("look", [load_model, check_model])
def test_a_model_that_is_replaced_while_it_is_read(
    look: Callable[[Path], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights that the old card names are gone, and nothing is damaged."""
    old = load_model(folder)
    read = model_folder.read_model_card
    found = []

    def replaced_after(place: Path) -> ModelCard:
        card = read(place)
        found.append(card)
        if len(found) == 1:
            with torch.no_grad():
                next(old.model.parameters()).add_(1)
            save_model(place, old.card, old.model, old.standardizer)
        return card

    monkeypatch.setattr(model_folder, "read_model_card", replaced_after)
    look(folder)
    assert [card.weights for card in found] == [old.card.weights, read(folder).weights]
    assert found[0].weights != found[1].weights


def test_too_many_open_files_are_not_a_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    save_tensors({"x": torch.zeros(2)}, file)
    with descriptors(0), pytest.raises(OSError, match=str(file)) as caught:
        load_tensors(file)
    assert caught.value.errno == errno.EMFILE
    file.unlink()
    with pytest.raises(FileNotFoundError):
        load_tensors(file)
