"""The training loop: it learns, stops, goes on bit-identically, and refuses what it cannot do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from emotailor.data.batching import Batch, split_by_steps
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, InterruptedRunError, ModelError
from emotailor.files import write_json
from emotailor.training import loop, step
from emotailor.training.checkpoint import read_progress
from emotailor.training.feeding import Feeder
from emotailor.training.history import EpochRecord
from emotailor.training.loop import Trainer
from emotailor.training.model_folder import load_model
from emotailor.training.progress import Reporter
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from tests.helpers import SMALL
from tests.kills import killed_while_writing
from tests.runs.runs import check_two_processes, one_thread

MODEL = {**SMALL.model_dump(), "initial_std": 0.2}


def config(data: Path, **training: Any) -> RunConfig:
    base = {"epochs": 3, "batch_size": 4, "learning_rate": 3e-3, "device": "cpu", "seed": 5}
    return RunConfig.build(
        {"data": {"path": str(data)}, "model": MODEL, "training": {**base, **training}}
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Parameters and moments at the end of a run, and the parameters of the selected model."""
    found: dict[str, torch.Tensor] = {}
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    card = json.loads((run / "model" / "model.json").read_text())
    for folder, name in (("checkpoint", state["file"]), ("model", card["weights"]["file"])):
        tensors = load_file(run / folder / name)
        found |= {f"{folder}.{key}": tensor for key, tensor in tensors.items()}
    return found


@contextmanager
def whole_checkpoints() -> Iterator[None]:
    """Let finished trainings keep moments and random states, which shall be the same, too."""

    def save_all(training: Any) -> None:
        training._save_checkpoint(needed=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "_save_end", save_all)
        yield


@pytest.fixture
def all_is_kept() -> Iterator[None]:
    with whole_checkpoints():
        yield


def assert_identical(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    histories = []
    for run in (a, b):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        histories.append([{**json.loads(line), "seconds": 0, "check": ""} for line in lines])
    assert histories[0] == histories[1]


class Told(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


class StopAt(Reporter):
    """Sends SIGINT to this process when a given step is reported."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, step: int, samples: int, losses: Mapping[str, float]) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_training_lowers_the_loss_and_writes_the_run_folder(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(config(data, epochs=12), run)
    losses = [record.train["total"] for record in result.history]
    assert losses[-1] < losses[0] - 0.2
    parts = result.history[0].train
    assert set(parts) == {
        "total",
        "classification",
        "adversarial_common",
        "adversarial_private",
        "orthogonality",
        "common_semantics",
    }
    micro_f1 = [record.valid["micro_f1"] for record in result.history]
    numbers = [value for value in micro_f1 if value is not None]
    assert len(numbers) == len(micro_f1)
    assert result.best.valid["micro_f1"] == max(numbers)
    assert {p.name for p in run.iterdir()} == {
        ".lock",
        "checkpoint",
        "config.json",
        "metrics.jsonl",
        "model",
    }
    card = load_model(run).card
    assert card.selection["epoch"] == result.best.epoch
    assert card.data["fingerprint"] == open_dataset(data).card.fingerprint
    assert set(card.thresholds) == {"fixed", "tuned", "per_label", "macro", "share"}


def test_the_total_is_the_weighted_sum_of_the_parts(data: Path, tmp_path: Path) -> None:
    record = train(config(data, epochs=1), tmp_path / "run").history[0].train
    weights = load_model(tmp_path / "run").model.loss_weights
    total = sum(weights[name] * value for name, value in record.items() if name != "total")
    assert record["total"] == pytest.approx(total, rel=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    data: Path, tmp_path: Path, all_is_kept: None
) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        train(config(data, seed=seed), tmp_path / name)
    assert_identical(tmp_path / "a", tmp_path / "b")
    a, c = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert not torch.equal(a["model.model.classifier.weight"], c["model.model.classifier.weight"])


# 23 samples in batches of 4: 6 batches an epoch, so 3 optimizer steps when 2 are accumulated.
# Steps are reported every 10, and at the end of an epoch.
@pytest.mark.parametrize("stop", [6, 10, 12])
def test_interrupted_then_continued_is_bit_identical(
    data: Path, tmp_path: Path, stop: int, all_is_kept: None
) -> None:
    whole = config(data, checkpoint_steps=1, average=0.5)
    train(whole, tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match="run the same command again"):
        train(whole, tmp_path / "parts", StopAt(stop))
    progress = read_progress(tmp_path / "parts" / "checkpoint")
    assert progress is not None
    assert progress.step >= stop
    assert not progress.finished
    train(whole, tmp_path / "parts")
    assert_identical(tmp_path / "whole", tmp_path / "parts")


def test_the_kept_model_is_the_average_of_the_parameters(
    data: Path, tmp_path: Path, all_is_kept: None
) -> None:
    """One epoch of six steps, followed by hand: the decay at step s is min(0.5, s / (10 + s))."""
    settings = config(data, epochs=1, average=0.5, checkpoint_steps=1)
    train(settings, tmp_path / "run")
    (file,) = (tmp_path / "run" / "checkpoint").glob("state-*.safetensors")
    state = load_file(file)
    kept = load_model(tmp_path / "run").model.state_dict()
    for name, tensor in kept.items():
        assert torch.equal(tensor, state[f"averaged.{name}"])
    moved = [n for n in kept if not torch.equal(kept[n], state[f"model.{n}"])]
    assert len(moved) == len(kept)
    # with a decay of almost nothing the average is the model itself
    train(config(data, epochs=1, average=1e-9), tmp_path / "none")
    (file,) = (tmp_path / "none" / "checkpoint").glob("state-*.safetensors")
    state = load_file(file)
    for name, tensor in load_model(tmp_path / "none").model.state_dict().items():
        torch.testing.assert_close(tensor, state[f"model.{name}"])


def test_accumulated_batches_count_as_one_step(data: Path, tmp_path: Path) -> None:
    result = train(config(data, accumulate=4), tmp_path / "run")
    assert [record.step for record in result.history] == [2, 4, 6]


def test_accumulation_equals_one_large_batch(data: Path, tmp_path: Path) -> None:
    """With equal batch sizes and no dropout the mean of means is the mean."""
    gradients = []
    for size, accumulate in ((22, 1), (11, 2)):
        settings = config(data, batch_size=size, accumulate=accumulate, epochs=1, clip_norm=0.0)
        settings = settings.replace(
            model={**MODEL, "dropout": 0.0, "refinement_dropout": 0.0, "orthogonality_weight": 0.0,
                   "adversarial_weight": 0.0}
        )  # fmt: skip
        trainer = Trainer(settings, tmp_path / f"{size}")
        trainer.data.positions = trainer.data.positions[:22]
        trainer.data.lengths = trainer.data.lengths[:22]
        result = trainer.train()
        gradients.append(result.history[0].train["classification"])
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)


_CHILD = """
import sys
from tests.training.test_loop import config
from emotailor.training.run import train
train(config(sys.argv[1], epochs=400, checkpoint_steps=1), sys.argv[2])
"""


def test_killed_at_any_moment_and_continued_is_bit_identical(data: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no chance to clean up; what is on disk must be enough."""
    run = tmp_path / "killed"
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(data), str(run)], cwd=root)
    state = run / "checkpoint" / "state.json"
    deadline = time.monotonic() + 120
    while not state.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.4)
    child.kill()
    child.wait()
    reached = read_progress(run / "checkpoint")
    assert reached is not None
    assert not reached.finished
    # the child had 400 epochs before it; both sides now stop two epochs after where it was killed
    epochs = config(data, epochs=400, checkpoint_steps=1)
    target = reached.epoch + 2
    copy = tmp_path / "continued"
    shutil.copytree(run, copy)

    class StopAfter(Reporter):
        def epoch(self, record: EpochRecord, *, best: bool) -> None:
            if record.epoch == target:
                os.kill(os.getpid(), signal.SIGINT)

    for folder in (copy, tmp_path / "whole"):
        with pytest.raises(InterruptedRunError):
            train(epochs, folder, StopAfter())
    assert_identical(copy, tmp_path / "whole")


def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    """Without dropout, each process taking half of every batch changes nothing but rounding."""
    settings = config(data, batch_size=8, learning_rate=1e-3)
    still = {**MODEL, "dropout": 0.0, "refinement_dropout": 0.0}
    settings = settings.replace(model=still)
    alone = train(settings, tmp_path / "one")
    done = check_two_processes(settings.to_json(), alone, tmp_path)
    assert done.stdout.count("best epoch") == 1


def test_a_finished_run_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    first = train(config(data), tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint" / "state.json").read_bytes()
    second = train(config(data), tmp_path / "run")
    assert second.history == first.history
    assert (tmp_path / "run" / "checkpoint" / "state.json").read_bytes() == before


def _truncate(model: Path) -> None:
    (file,) = model.glob("weights-*")
    file.write_bytes(file.read_bytes()[:-5])


def _alter(model: Path) -> None:
    (file,) = model.glob("weights-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _alter_card(model: Path) -> None:
    (model / "model.json").write_text("{")


DAMAGE = {
    _truncate: "its SHA-256 differs",
    _alter: "its SHA-256 differs",
    _alter_card: "is damaged",
    shutil.rmtree: "no trained model at",
}


def test_a_lost_checkpoint_is_said(data: Path, tmp_path: Path) -> None:
    run, told = tmp_path / "run", Told()
    train(config(data, epochs=1), run)
    shutil.rmtree(run / "checkpoint")
    train(config(data, epochs=1), run, told)
    assert told.lines == [
        f"no checkpoint in {run}: training starts anew and replaces its model",
        "23 training samples: 1 epoch of 6 updates, learning rate 0.003",
    ]


def test_lost_settings_are_said_in_short(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config(data, epochs=1), run)
    for spoil, what in ((lambda f: f.write_text("{}"), "damaged"), (Path.unlink, "missing")):
        spoil(run / "config.json")
        with pytest.raises(ConfigError, match=f"config.json is {what}") as e:
            train(config(data, epochs=1), run)
        assert len(str(e.value)) < 600
    assert (run / "model" / "model.json").is_file()


@pytest.mark.parametrize("spoil", DAMAGE)
@pytest.mark.parametrize("by_earlier_version", [False, True])
def test_a_damaged_model_is_restored_from_its_checkpoint(
    data: Path, tmp_path: Path, spoil: Callable[[Path], None], by_earlier_version: bool
) -> None:
    """The best epoch is the last one here: the checkpoint has its parameters, and the average."""
    run, settings, told = tmp_path / "run", config(data, epochs=1, average=0.5), Told()
    with whole_checkpoints() if by_earlier_version else nullcontext():
        first = train(settings, run)
    whole = {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    spoil(run / "model")
    again = train(settings, run, told)
    assert (again.best, again.history) == (first.best, first.history)
    assert {file.name: file.read_bytes() for file in (run / "model").iterdir()} == whole
    assert len(told.lines) == 1
    assert DAMAGE[spoil] in told.lines[0]
    assert told.lines[0].endswith("; it is restored from the checkpoint")
    train(settings, run, told)
    assert told.lines[1:] == [f"{run} is already trained; nothing to do"]


def test_a_finished_run_keeps_no_moments(data: Path, tmp_path: Path) -> None:
    """A third of a checkpoint or less; its place is said twice, so one of the two may be lost."""
    run, settings, told = tmp_path / "run", config(data, epochs=1, average=0.5), Told()
    first = train(settings, run)
    folder = run / "checkpoint"
    assert (folder / "state.json").read_bytes() == (folder / "before.json").read_bytes()
    (file,) = folder.glob("state-*.safetensors")
    stored = load_model(run).model.state_dict()
    kept = load_file(file)
    assert kept.keys() == {f"kept.{name}" for name in stored}
    assert all(torch.equal(kept[f"kept.{name}"], value) for name, value in stored.items())

    (folder / "state.json").write_text("{}")
    again = train(settings, run, told)
    assert (again.best, again.history) == (first.best, first.history)
    assert told.lines[0].endswith("; its copy is used")
    assert told.lines[1:] == [f"{run} is already trained; nothing to do"]

    # the copy brings a lost model back, too
    shutil.rmtree(run / "model")
    train(settings, run, told)
    assert told.lines[-1].endswith("; it is restored from the checkpoint")
    assert all(
        torch.equal(value, stored[name])
        for name, value in load_model(run).model.state_dict().items()
    )

    file.write_bytes(file.read_bytes()[:-1])
    shutil.rmtree(run / "model")
    with pytest.raises(ModelError, match="damaged"):
        train(settings, run)


def test_a_damaged_model_of_an_earlier_epoch_is_lost(data: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", config(data, epochs=60, patience=2, learning_rate=1e-7)
    best = train(settings, run).best.epoch
    _truncate(run / "model")
    with pytest.raises(ModelError) as caught:
        train(settings, run)
    assert str(caught.value).startswith(f"the selected model of {run} is damaged: {run / 'model'}")
    assert str(caught.value).endswith(
        "its SHA-256 differs\n"
        f"  expected: the model of epoch {best}; the checkpoint is of later steps, so it cannot be "
        "made from that\n"
        f"  to fix it: put {run / 'model'} back from a copy, or remove {run} and train again"
    )


def test_a_run_does_not_go_on_without_its_best_model(
    data: Path, tmp_path: Path, all_is_kept: None
) -> None:
    """Unless the checkpoint has it: no later epoch may be as good."""

    class StopAfterFirst(Reporter):
        def epoch(self, record: EpochRecord, *, best: bool) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    settings = config(data, checkpoint_steps=1)
    train(settings, tmp_path / "whole")
    for name, reporter in (("first", StopAfterFirst()), ("second", StopAt(10))):
        with pytest.raises(InterruptedRunError):
            train(settings, tmp_path / name, reporter)
        shutil.rmtree(tmp_path / name / "model")
    train(settings, tmp_path / "first")
    assert_identical(tmp_path / "whole", tmp_path / "first")
    with pytest.raises(ModelError, match=r"damaged: no trained model[\s\S]*epoch 1; .*later steps"):
        train(settings, tmp_path / "second")


@pytest.mark.parametrize("ahead", [False, True])
def test_the_next_batch_is_looked_up_where_it_is_read_ahead(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    seen: list[tuple[bytes, bytes | None]] = []
    split: list[int] = []

    class Recorder(Feeder):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.ahead = ThreadPoolExecutor(1) if ahead else None

        def batch(self, chosen: Any, following: Any = None) -> Batch:
            seen.append((chosen.tobytes(), None if following is None else following.tobytes()))
            return super().batch(chosen, following)

    def counted(lengths: Any, *arguments: Any) -> Any:
        split.append(len(lengths))
        return split_by_steps(lengths, *arguments)

    monkeypatch.setattr(loop, "Feeder", Recorder)
    monkeypatch.setattr(step, "split_by_steps", counted)
    with one_thread():
        train(config(data, epochs=1), tmp_path / "run")
    assert len(seen) == 6
    wanted = [batch for batch, _ in seen[1:]] if ahead else [None] * 5
    assert [following for _, following in seen] == [*wanted, None]
    assert len(split) == (11 if ahead else 6)


def test_another_configuration_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    train(config(data, epochs=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"config.training.epochs: 1 there, 2 now"):
        train(config(data, epochs=2), tmp_path / "run")


def test_a_failed_start_does_not_claim_the_folder(data: Path, tmp_path: Path) -> None:
    wrong = RunConfig.build(config(data, epochs=1).to_json(), {"model": {"max_steps": 3}})
    with pytest.raises(ModelError):
        train(wrong, tmp_path / "run")
    train(config(data, epochs=1), tmp_path / "run")


def test_settings_that_came_later_do_not_stop_a_run_from_going_on(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train(config(data), tmp_path / "run", StopAt(6))
    file = tmp_path / "run" / "config.json"
    old = json.loads(file.read_text())
    del old["config"]["model"]["input_dropout"], old["config"]["training"]["average"]
    write_json(file, old)
    assert len(train(config(data), tmp_path / "run").history) == 3


def test_a_folder_of_something_else_is_not_written_into(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"no run folder, and not empty.*chapter.txt"):
        train(config(data), tmp_path / "thesis")


def test_a_kill_while_the_first_file_was_written_is_no_obstacle(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    left = killed_while_writing(run / "config.json")
    train(config(data, epochs=1), run)
    assert not left.exists()


def test_a_config_file_of_somebody_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    file = tmp_path / "other" / "config.json"
    file.write_text('{"architectures": ["Bert"]}')
    with pytest.raises(ConfigError, match="no run folder, and not empty"):
        train(config(data), tmp_path / "other")
    assert file.read_text() == '{"architectures": ["Bert"]}'


def test_statistics_of_another_split_are_not_used(data: Path, tmp_path: Path) -> None:
    settings = RunConfig.build(config(data).to_json(), {"data": {"train_split": "valid"}})
    with pytest.raises(ConfigError, match=r"data\.standardize"):
        train(settings, tmp_path / "run")


def test_a_short_batch_does_not_weigh_as_much_as_a_full_one(data: Path, tmp_path: Path) -> None:
    """Twelve samples in batches of 11 and 1, accumulated, equal one batch of twelve."""
    still = {**MODEL, "dropout": 0.0, "refinement_dropout": 0.0}
    losses = []
    for size, accumulate in ((12, 1), (11, 2)):
        settings = config(data, batch_size=size, accumulate=accumulate, epochs=2, seed=5)
        trainer = Trainer(settings.replace(model=still), tmp_path / f"{size}")
        trainer.data.positions = trainer.data.positions[:12]
        trainer.data.lengths = trainer.data.lengths[:12]
        losses.append([record.valid["loss"] for record in trainer.train().history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_early_stopping(data: Path, tmp_path: Path) -> None:
    result = train(config(data, epochs=60, patience=2, learning_rate=1e-7), tmp_path / "run")
    assert len(result.history) == result.best.epoch + 2


def test_selection_by_tuned_threshold(data: Path, tmp_path: Path) -> None:
    train(config(data, epochs=1, select_by="tuned"), tmp_path / "run")
    card = load_model(tmp_path / "run").card
    assert card.selection["valid"]["micro_f1"] > 0
    assert len(set(card.thresholds["tuned"].values.values())) == 1


def test_a_subset_of_modalities(data: Path, tmp_path: Path) -> None:
    settings = RunConfig.build(
        config(data, epochs=1).to_json(), {"data": {"modalities": ["text", "visual"]}}
    )
    train(settings, tmp_path / "run")
    assert load_model(tmp_path / "run").card.dims == {"visual": 5, "text": 11}


def test_a_diverged_training_says_so_and_keeps_the_last_good_model(
    data: Path, tmp_path: Path
) -> None:
    settings = config(data, learning_rate=1e30, clip_norm=0.0)
    with pytest.raises(ModelError, match=r"diverged[\s\S]*a lower --set training.learning_rate"):
        train(settings, tmp_path / "run")


def test_a_damaged_checkpoint_is_one_message(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(config(data), tmp_path / "run", StopAt(6))
    (file,) = (tmp_path / "run" / "checkpoint").glob("state-*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"SHA-256 differs[\s\S]*train again"):
        train(config(data), tmp_path / "run")
    state = tmp_path / "run" / "checkpoint" / "state.json"
    state.write_text(state.read_text().replace('"epoch": 1,', '"epoch": "x",', 1))
    with pytest.raises(ModelError, match="damaged"):
        train(config(data), tmp_path / "run")
    state.write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        train(config(data), tmp_path / "run")


def test_two_processes_cannot_share_a_run_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(ConfigError, match="another process"),
    ):
        train(config(data), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": {"train_split": "trian"}}, DataError, "no split 'trian'"),
        ({"data": {"path": "/nowhere"}}, DataError, "no data set at /nowhere"),
        ({"training": {"device": "cuda:7"}}, ConfigError, "cuda:7"),
        ({"model": {"max_steps": 3}}, ModelError, "--set model.max_steps=8"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(
    data: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    settings = RunConfig.build(config(data).to_json(), changes)
    with pytest.raises(error, match=message):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_the_validation_of_an_epoch_is_that_of_the_stored_model(data: Path, tmp_path: Path) -> None:
    from emotailor.evaluation.metrics import evaluate
    from emotailor.serving.predictor import Predictor

    best = train(config(data), tmp_path / "run").best
    predictor = Predictor.load(tmp_path / "run", device="cpu", thresholds="fixed")
    split = open_dataset(data)["valid"]
    metrics = evaluate(
        split.labels, predictor.predict_proba(split), predictor.label_names, predictor.thresholds
    )
    assert metrics.micro_f1 == best.valid["micro_f1"]
    assert metrics.mean_average_precision is not None
    wanted = best.valid["mean_average_precision"]
    assert wanted is not None
    assert np.isclose(metrics.mean_average_precision, wanted)
