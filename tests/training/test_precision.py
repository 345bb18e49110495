"""bf16 is taken where the machine is fast in it, and a training stays with what it began in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from emotailor.errors import InterruptedRunError
from emotailor.training import precision
from emotailor.training.checkpoint import read_progress
from emotailor.training.config import TrainingConfig
from emotailor.training.precision import bf16_gain, chosen_precision  # the real ones
from emotailor.training.run import train
from emotailor.training.step import TrainingStep
from tests.training.test_loop import StopAt, assert_identical, config, whole_checkpoints
from tests.training.test_stored_files import edited

CPU = torch.device("cpu")
SETTINGS = {"batch_size": 2, "checkpoint_steps": 1}


@pytest.fixture(autouse=True)
def all_is_kept() -> Iterator[None]:
    with whole_checkpoints():
        yield


def measure(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    """Let this machine be so many times as fast in bf16."""
    monkeypatch.setattr(precision, "bf16_gain", lambda device: gain)


@pytest.mark.parametrize(
    ("wanted", "gain", "chosen"),
    [
        ("auto", 1.49, "fp32"),
        ("auto", 1.5, "bf16"),
        ("auto", 8.0, "bf16"),
        ("fp32", 8.0, "fp32"),
        ("bf16", 0.1, "bf16"),
    ],
)
def test_the_rule(monkeypatch: pytest.MonkeyPatch, wanted: str, gain: float, chosen: str) -> None:
    measure(monkeypatch, gain)
    assert chosen_precision(wanted, CPU) == chosen


def test_the_gain_is_one_rate_by_the_other_and_measured_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def rate(dtype: torch.dtype, device: str, *, size: int) -> float:
        asked.append((dtype, device, size))
        return {torch.float32: 40.0, torch.bfloat16: 100.0}[dtype]

    monkeypatch.setattr(precision, "matmul_rate", rate)
    bf16_gain.cache_clear()
    try:
        assert [bf16_gain("cpu"), bf16_gain("cpu")] == [2.5, 2.5]
    finally:
        bf16_gain.cache_clear()
    assert asked == [(torch.bfloat16, "cpu", 512), (torch.float32, "cpu", 512)]


def test_the_products_are_made_in_the_type_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[torch.dtype] = set()
    product = torch.Tensor.__matmul__

    def watched(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        seen.add(first.dtype)
        return product(first, second)

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    for dtype in (torch.float32, torch.bfloat16):
        seen.clear()
        assert precision.matmul_rate(dtype, "cpu", size=8, repeats=1) > 0
        assert seen == {dtype}


def test_a_training_goes_on_in_what_it_began_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, 2.0)
    settings = config(data, **SETTINGS)
    train(settings, tmp_path / "whole")
    in_fp32 = train(config(data, **SETTINGS, precision="fp32"), tmp_path / "fp32")

    run = tmp_path / "stopped"
    with pytest.raises(InterruptedRunError):
        train(settings, run, StopAt(20))
    told = read_progress(run / "checkpoint")
    assert told is not None and told.precision == "bf16"

    # another machine
    measure(monkeypatch, 0.1)
    found = train(settings, run)
    assert_identical(tmp_path / "whole", run)
    # both losses are of validation, in fp32, of models that differ
    assert found.best.valid["loss"] != in_fp32.best.valid["loss"]
    assert found.best.valid["loss"] == pytest.approx(in_fp32.best.valid["loss"], rel=0.05)


def test_a_training_of_before_goes_on_in_fp32(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint does not say what it ran in; on a CPU that was fp32."""
    settings = config(data, **SETTINGS)
    train(settings, tmp_path / "whole")

    run = tmp_path / "stopped"
    with pytest.raises(InterruptedRunError):
        train(settings, run, StopAt(20))
    for name in ("state.json", "before.json"):
        edited(run / "checkpoint" / name, lambda state: state["progress"].pop("precision"))

    measure(monkeypatch, 8.0)
    train(settings, run)
    assert_identical(tmp_path / "whole", run)


def test_a_step_alone_follows_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    from emotailor.training.threads import Workers
    from tests.systems import tiny_model

    for gain, in_bf16 in ((0.5, False), (2.0, True)):
        measure(monkeypatch, gain)
        step = TrainingStep(tiny_model("tailor"), TrainingConfig(), Workers(1, None))
        assert step.bf16 is in_bf16
