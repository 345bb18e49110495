"""What every epoch predicts is kept where that is asked for, changes nothing, and is checked."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import emotailor
from emotailor.errors import DataError
from emotailor.evaluation.protocols import LETTERS
from emotailor.runs.evaluate import evaluate_run, render_evaluations
from emotailor.runs.protocols import program_of
from emotailor.runs.stored import read_evaluation
from emotailor.training.every_epoch import read_epochs
from emotailor.training.history import EpochRecord, read_history
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from tests.runs.runs import one_thread, run_cli, tiny_config, train_tiny
from tests.runs.test_evaluate import shown

EPOCHS = 3


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "run"
    return train_tiny(data, folder, protocols="test", epochs=EPOCHS)


@pytest.fixture
def run(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "run"))


def weights(run: Path) -> Mapping[str, np.ndarray]:
    (file,) = (run / "model").glob("weights-*.safetensors")
    return {name: tensor.numpy() for name, tensor in load_file(file).items()}


def scores(run: Path) -> list[tuple[dict[str, float], dict[str, float | None]]]:
    return [(record.train, record.valid) for record in read_history(run)]


def test_keeping_predictions_changes_nothing_else(kept: Path, data: Path, tmp_path: Path) -> None:
    plain = train_tiny(data, tmp_path / "plain", epochs=EPOCHS)
    assert read_epochs(plain) is None
    assert scores(plain) == scores(kept)

    ours, theirs = weights(plain), weights(kept)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])


def test_our_rule_gives_what_evaluate_gives(run: Path) -> None:
    result = evaluate_run(run, resamples=0, protocols=True)
    found = result.protocols
    assert found is not None
    assert tuple(found.rules) == LETTERS
    ours = found.rules["a"]
    assert ours.epoch == emotailor.Run.open(run).model.selected_epoch
    assert ours.micro_f1 == result.metrics.micro_f1
    assert ours.accuracy == result.metrics.accuracy
    assert found.rules["f"].micro_f1 == result.by_mode["fixed"].micro_f1

    # those that choose on test are never behind those that do not
    assert found.rules["d"].micro_f1 >= max(one.micro_f1 for one in found.rules.values()) - 1e-12
    assert found.rules["c"].micro_f1 >= found.rules["b"].micro_f1
    assert found.rules["b"].epoch == found.fixed_epochs.runs == EPOCHS
    assert (found.fixed, found.batch) == (0.35, 64)

    stored = read_evaluation(run, "test")
    assert stored is not None
    assert stored.protocols == found


def test_the_table_fits_a_terminal(run: Path) -> None:
    result = evaluate_run(run, resamples=0, protocols=True, store=False)
    text = shown(render_evaluations([result]))
    assert max(map(len, text.splitlines())) <= 80
    assert result.protocols is not None
    assert f"{result.protocols.rules['d'].micro_f1:.3f}" in text


def test_several_runs_have_a_mean_by_rule(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "seeds" / "other"))
    results = [evaluate_run(one, resamples=0, protocols=True, store=False) for one in (run, other)]
    text = shown(render_evaluations(results))
    assert max(map(len, text.splitlines())) <= 80
    assert results[0].protocols is not None
    score = results[0].protocols.rules["a"].micro_f1
    assert f"{score:.3f}".removeprefix("0") + "±.000" in text


def test_the_numbers_of_an_author_are_those_of_the_program() -> None:
    assert program_of("tailor") == (0.35, 64)
    assert program_of("carat")[0] == 0.25


def test_a_stopped_training_keeps_all_epochs(kept: Path, data: Path, tmp_path: Path) -> None:
    def stop(record: EpochRecord) -> bool:
        if record.epoch == 2:
            raise RuntimeError("a power cut")
        return True

    folder = tmp_path / "stopped"
    config = tiny_config(data, protocols="test", epochs=EPOCHS)
    with one_thread(), pytest.raises(RuntimeError, match="power cut"):
        train(config, folder, on_epoch=stop)
    train_tiny(data, folder, protocols="test", epochs=EPOCHS)

    whole, again = read_epochs(kept), read_epochs(folder)
    assert whole is not None and again is not None
    assert [one.epoch for one in again.index.epochs] == [1, 2, 3]
    np.testing.assert_array_equal(whole.probabilities, again.probabilities)
    assert len(list((folder / "epochs").iterdir())) == EPOCHS + 1


def test_a_system_that_is_fitted_has_one_epoch(data: Path, tmp_path: Path) -> None:
    config = RunConfig.build(
        {"data": {"path": str(data)}, "training": {"protocols": "test", "device": "cpu"}},
        system="br",
    )
    train(config, tmp_path / "br", progress=False)
    found = evaluate_run(tmp_path / "br", resamples=0, store=False, protocols=True)
    assert found.protocols is not None
    assert {one.epoch for one in found.protocols.rules.values()} == {1}


def note_of(run: Path, split: str = "test", data: Path | None = None) -> str:
    result = evaluate_run(run, split=split, data=data, resamples=0, store=False, protocols=True)
    assert result.protocols is None
    assert result.metrics.samples > 0  # the numbers themselves are there
    (note,) = [note for note in result.notes if note.startswith("no other rules: ")]
    return note


def test_where_nothing_was_kept_a_note_says_what_to_do(run: Path) -> None:
    assert "split 'test'" in note_of(run, split="valid")
    shutil.rmtree(run / "epochs")
    assert "emotailor train --protocols" in note_of(run)


def test_other_data_and_damage_are_told(run: Path, data: Path, tmp_path: Path) -> None:
    from tests.runs.test_evaluate import relabelled

    swapped = relabelled(data, tmp_path / "swapped", ("sad", "happy", "angry"), [1, 0, 2])
    assert "data of the training" in note_of(run, data=swapped)

    (file,) = (run / "epochs").glob("epoch-0002-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert file.name in note_of(run)


def test_a_history_with_other_epochs_is_told(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    assert "of 2 epochs" in note_of(run)


def test_nothing_else_reads_them() -> None:
    root = Path(emotailor.__file__).parent
    readers = set()
    for file in root.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "read_epochs" in text or '"epochs" /' in text or '/ "epochs"' in text:
            readers.add(file.relative_to(root).as_posix())
    assert readers == {"training/every_epoch.py", "runs/protocols.py"}


def test_a_split_that_is_not_there_is_refused_before_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        train_tiny(data, tmp_path / "run", protocols="nowhere")
    assert not (tmp_path / "run").exists()


def test_the_command_line_shows_them(run: Path) -> None:
    done = run_cli("evaluate", run, "--protocols", "--resamples", "0")
    assert done.code == 0
    assert "What each rule would report" in done.out
    stored = read_evaluation(run, "test")
    assert stored is not None and stored.protocols is not None
    for one in stored.protocols.rules.values():
        assert f"{one.micro_f1:.3f}" in done.out
