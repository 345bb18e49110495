"""A damaged checkpoint costs the steps since the one before it, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from emotailor.errors import InterruptedRunError, ModelError
from emotailor.files import sha256_of, write_json
from emotailor.nn.contrastive import ContrastiveQueue, supervised_contrast
from emotailor.training.checkpoint import (
    Progress,
    has_checkpoint,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from emotailor.training.history import read_history
from emotailor.training.loop import Trainer
from emotailor.training.run import train
from tests.training.test_loop import StopAt, Told, assert_identical, config, whole_checkpoints

EVERY = {"checkpoint_steps": 1, "batch_size": 2}  # at steps 10, 12, 20, 24, …: 12 are an epoch


def named_by(state: Path) -> Path:
    """The tensors of a state file."""
    return state.with_name(json.loads(state.read_text())["file"])


def flip(file: Path, at: int = -1, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with whole_checkpoints():
        train(config(data, **EVERY), run)
    return run


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped in its second epoch; the checkpoint before is of the first."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(InterruptedRunError):
        train(config(data, **EVERY), run, StopAt(20))
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_two_checkpoints_are_kept_and_no_more(whole: Path, run: Path) -> None:
    for folder, steps in ((whole, [36, 30]), (run, [20, 12])):
        states = [folder / "checkpoint" / name for name in ("state.json", "before.json")]
        found = [json.loads(state.read_text())["progress"]["step"] for state in states]
        assert found == steps
        tensors = {named_by(state) for state in states}
        assert set((folder / "checkpoint").glob("state-*")) == tensors
        assert len(tensors) == 2


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "state": (lambda folder: flip(folder / "state.json", 200), "state.json"),
    "no state": (lambda folder: (folder / "state.json").unlink(), "state.json"),
    "tensors": (lambda folder: flip(named_by(folder / "state.json")), "state-"),
    "no tensors": (lambda folder: named_by(folder / "state.json").unlink(), "state-"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    data: Path, run: Path, whole: Path, name: str
) -> None:
    spoil, file = DAMAGE[name]
    spoil(run / "checkpoint")
    told = Told()
    with pytest.raises(InterruptedRunError):  # what is repaired is stored as the newest
        train(config(data, **EVERY), run, _Stopping(told))
    assert f"{run / 'checkpoint' / file}" in told.lines[0]
    assert "epoch 1, step 12" in told.lines[0]
    assert told.lines[1:] == [f"going on in {run} at epoch 1, step 12"]

    with whole_checkpoints():
        train(config(data, **EVERY), run)
    assert_identical(run, whole)


class _Stopping(StopAt):
    """Stops after the first report, and remembers what it is told."""

    def __init__(self, told: Told) -> None:
        super().__init__(20)
        self.told = told

    def message(self, text: str) -> None:
        self.told.message(text)


def test_two_damaged_checkpoints_are_one_message(data: Path, run: Path) -> None:
    folder = run / "checkpoint"
    flip(named_by(folder / "before.json"))
    flip(named_by(folder / "state.json"))
    with pytest.raises(ModelError, match="SHA-256 differs") as caught:
        train(config(data, **EVERY), run)
    assert named_by(folder / "state.json").name in caught.value.found
    flip(folder / "before.json", 200)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        train(config(data, **EVERY), run)


def test_where_a_training_stands_is_read_of_the_one_before(run: Path) -> None:
    folder = run / "checkpoint"
    whole = read_progress(folder)
    assert whole is not None
    (folder / "state.json").unlink()
    assert has_checkpoint(folder)
    with pytest.warns(UserWarning, match=r"state\.json .*epoch 1, step 12"):
        before = read_progress(folder)
    assert before is not None
    assert (before.step, before.epoch, before.batch) == (12, 0, 12)
    assert (len(whole.history), before.history) == (1, [])


def test_flipped_bytes_of_a_state_are_found(run: Path) -> None:
    folder = run / "checkpoint"
    whole = read_progress(folder)
    content = (folder / "state.json").read_bytes()
    fallen = 0
    tried = range(0, len(content), 11)
    for at in tried:
        flip(folder / "state.json", at, at % 7)
        told: list[str] = []
        found = read_progress(folder, told.append)
        assert found is not None
        assert found == whole or (found.step == 12 and "state.json" in told[0])
        fallen += len(told)
        (folder / "state.json").write_bytes(content)
    assert fallen > len(tried) / 2  # the rest is white space


def test_a_history_that_is_damaged_is_written_again(data: Path, run: Path, whole: Path) -> None:
    before = read_history(run)
    flip(run / "metrics.jsonl", 20)
    with pytest.raises(ModelError, match=r"metrics\.jsonl"):
        read_history(run)
    Trainer(config(data, **EVERY), run).train()
    assert read_history(run)[:1] == before

    expected = (run / "metrics.jsonl").read_bytes()
    for content in (b"\xff", expected[:-20], b"", b"\n\n"):
        (run / "metrics.jsonl").write_bytes(content)
        train(config(data, **EVERY), run)  # nothing is left to do
        assert (run / "metrics.jsonl").read_bytes() == expected


def test_flipped_bytes_of_a_history_are_found(run: Path) -> None:
    file = run / "metrics.jsonl"
    before = read_history(run)
    content = file.read_bytes()
    for at in range(0, len(content), 5):
        flip(file, at, at % 7)
        try:
            assert read_history(run) == before
        except ModelError as error:
            assert str(file) in error.found
        file.write_bytes(content)


def _spoil_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of the newest checkpoint; the state has their new hash."""
    state = folder / "state.json"
    tensors = load_file(named_by(state))
    change(tensors)
    save_file(tensors, named_by(state))
    values = json.loads(state.read_text())
    write_json(state, {**values, "sha256": sha256_of(named_by(state))})


def _set(name: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: tensors.update({name: value})


MISFITS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "less": (lambda tensors: tensors.pop("random.cpu"), "random.cpu"),
    "more": (_set("other.x", torch.zeros(1)), "other.x"),
    "random states of another size": (_set("random.cpu", torch.zeros(3).byte()), "random.cpu"),
    "random states of another type": (_set("random.cpu", torch.zeros(5056)), "random.cpu"),
    "moments of no parameter": (_set("optimizer.999.exp_avg", torch.zeros(1)), "other parameters"),
    "moments without a number": (_set("optimizer.x.exp_avg", torch.zeros(1)), "other parameters"),
    "another shape": (_set("optimizer.0.exp_avg", torch.zeros(1)), "optimizer.0.exp_avg"),
    "not all moments": (lambda tensors: tensors.pop("optimizer.0.exp_avg"), "not all moments"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_tensors_of_another_training_are_refused(data: Path, run: Path, name: str) -> None:
    change, what = MISFITS[name]
    _spoil_tensors(run / "checkpoint", change)
    with pytest.raises(ModelError, match=what) as caught:
        train(config(data, **EVERY), run)
    assert named_by(run / "checkpoint" / "state.json").name in caught.value.found


def test_sums_that_an_earlier_version_did_not_store_are_computed_anew(tmp_path: Path) -> None:
    """A queue of CARAT or LDDU whose checkpoint has its rows and classes alone."""
    start = F.normalize(torch.randn(9, 4), dim=1)
    queue = ContrastiveQueue(start)
    model = nn.Sequential(nn.Linear(4, 4), queue)
    optimizer = torch.optim.Adam(model.parameters())
    device = torch.device("cpu")
    older = nn.Sequential(nn.Linear(4, 4), nn.Module())
    for name in ("rows", "classes", "pointer"):
        older[1].register_buffer(name, getattr(queue, name).clone())
    save_checkpoint(tmp_path, Progress(step=3), {"model": older}, optimizer, device)

    supervised_contrast(start, torch.arange(9) % 2, queue, 0.2, enter=True)
    assert queue.pair_temperature == 0.2
    progress = load_checkpoint(tmp_path, {"model": model}, optimizer, device)
    assert progress.step == 3
    assert queue.pair_temperature == 0
    assert queue.classes.tolist() == [-1] * 9
    # another buffer that is absent is a damage, as ever
    del older[1].classes
    save_checkpoint(tmp_path / "b", Progress(), {"model": older}, optimizer, device)
    with pytest.raises(ModelError, match=r"model\.1\.classes"):
        load_checkpoint(tmp_path / "b", {"model": model}, optimizer, device)
