"""The recipe ``tuned``: epochs by the updates that the data allow."""

from pathlib import Path

import pytest

import emotailor
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError
from emotailor.models.table import SYSTEMS, use_system
from emotailor.models.tailor.config import TailorConfig
from emotailor.runs.train import plan_runs
from emotailor.training.config import TrainingConfig
from emotailor.training.recipe import (
    FEWEST_EPOCHS,
    LARGE,
    MOST_EPOCHS,
    UPDATES,
    in_words,
    recipe,
    training_samples,
    updates_per_epoch,
)
from emotailor.training.run_config import RunConfig
from emotailor.training.stored_config import read_run_config
from tests.own.my_model import MeanPool

SIZES = (1, 24, 400, 635, 1600, 4000, 7999, 8000, 16_322, 1_000_000)
QUICK = {"training": {"epochs": 1, "device": "cpu"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe") / "data"
    emotailor.synthesize(emotailor.SyntheticConfig(train=21, valid=9, test=5), folder)
    return folder


@pytest.mark.parametrize("samples", SIZES)
def test_epochs_give_the_updates_that_are_needed(samples: int) -> None:
    training = recipe("tailor", "tuned", samples=samples)
    per_epoch = updates_per_epoch(samples, training)
    updates = training.epochs * per_epoch

    assert FEWEST_EPOCHS <= training.epochs <= MOST_EPOCHS
    if training.epochs not in (FEWEST_EPOCHS, MOST_EPOCHS):
        assert UPDATES <= updates < UPDATES + per_epoch
    assert (training.epochs == MOST_EPOCHS) is (per_epoch * (MOST_EPOCHS - 1) < UPDATES)


def test_numbers_by_hand() -> None:
    found = {n: recipe("tailor", "tuned", samples=n) for n in (400, 635, 1600, 16_322)}
    sizes = {n: (one.batch_size, one.epochs) for n, one in found.items()}
    # 400 samples are 13 batches of 32: 39 epochs are 507 updates
    assert sizes == {400: (32, 39), 635: (32, 25), 1600: (32, 10), 16_322: (64, 5)}
    assert in_words(found[635], 635) == (
        "635 training samples: 25 epochs of 20 updates, learning rate 0.001"
    )


def test_more_samples_never_mean_fewer_updates() -> None:
    updates = []
    for samples in range(1, 20_000, 97):
        training = recipe("tailor", "tuned", samples=samples)
        updates.append(training.epochs * updates_per_epoch(samples, training))
    small = [total for total in updates if total < UPDATES]
    assert small == sorted(small)
    assert min(updates[len(small) :]) >= UPDATES


def test_the_epochs_go_by_the_batches_that_are_given() -> None:
    data = {"data": {"path": "x"}}
    config = RunConfig.build(
        data, {"training": {"batch_size": 8, "accumulate": 2}}, preset="tuned", samples=400
    )
    assert updates_per_epoch(400, config.training) == 25
    assert config.training.epochs == 20
    given = RunConfig.build(data, {"training": {"epochs": 3}}, preset="tuned", samples=400)
    assert (given.training.epochs, given.training.batch_size) == (3, 32)
    for wrong in ({"batch_size": 0}, {"batch_size": "many"}, {"accumulate": 0}):
        with pytest.raises(ConfigError, match=f"training.{next(iter(wrong))}"):
            RunConfig.build(data, {"training": wrong}, preset="tuned", samples=400)
    with pytest.raises(ConfigError, match="training = 5"):
        RunConfig.build(data, {"training": 5}, preset="tuned")


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("aligned", [True, False])
def test_every_system_has_a_recipe_for_data_of_any_size(name: str, aligned: bool) -> None:
    for samples in (None, *SIZES):
        found = recipe(name, "tuned", aligned=aligned, samples=samples)
        assert found.select_by == "tuned"
        assert TrainingConfig.parse(found.to_json()) == found
    row = SYSTEMS[name]
    assert row.config.parse(row.preset("tuned").to_json()) == row.preset("tuned")


def test_papers_and_programs_do_not_go_by_the_size() -> None:
    for name in SYSTEMS:
        for preset in ("paper", "authors"):
            one = recipe(name, preset, samples=400)
            assert one == recipe(name, preset, samples=16_000)
    assert recipe("tailor", samples=400) == TrainingConfig()


def test_a_system_of_ones_own_keeps_its_recipe() -> None:
    row = use_system(MeanPool)
    found = recipe(row.name, "tuned", samples=LARGE)
    assert (found.learning_rate, found.epochs) == (1e-2, 3)  # its own
    assert (found.batch_size, found.select_by) == (64, "tuned")


def test_the_command_line_and_python_choose_the_same(data: Path, tmp_path: Path) -> None:
    card = open_dataset(data).card
    assert training_samples(card) == 21
    assert training_samples(card, "absent") is None

    (planned,) = plan_runs(data=data, settings=["training.epochs=1", "training.device=cpu"])
    assert planned.config.model == TailorConfig.tuned()
    assert planned.config.training == recipe("tailor", "tuned", samples=21).replace(
        epochs=1, device="cpu"
    )

    emotailor.train({"data": {"path": str(data)}, **QUICK}, tmp_path / "run")
    assert read_run_config(tmp_path / "run").config == planned.config
    again = emotailor.train({"data": {"path": str(data)}, **QUICK}, tmp_path / "run")
    assert len(again.history) == 1  # the same settings were found: nothing to do

    emotailor.train({"data": {"path": str(data)}, **QUICK}, tmp_path / "br", model="br")
    assert read_run_config(tmp_path / "br").config.training.select_by == "tuned"


def test_data_that_cannot_be_read_are_left_to_the_training() -> None:
    config = RunConfig.for_data({"data": {"path": "nowhere"}})
    assert config.training == recipe("tailor", "tuned")
    with pytest.raises(ConfigError, match=r"data\.path"):
        RunConfig.for_data({"data": {"path": 5}})


def test_the_size_counts_labelled_samples_of_the_split_that_is_trained_on(data: Path) -> None:
    where = {"path": str(data), "train_split": "valid", "standardize": False}
    config = RunConfig.for_data({"data": where})
    assert config.training == recipe("tailor", "tuned", samples=9)
