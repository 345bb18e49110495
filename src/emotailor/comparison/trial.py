"""One trial of a search: settings that were chosen, trained with every seed, and judged.

Trials are judged on the validation split alone; the test split is never read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from emotailor.comparison.given import build_config
from emotailor.comparison.search_space import Space, settings_of
from emotailor.comparison.trials import (
    WHY,
    folder_of,
    open_storage,
    open_study,
    space_from,
    taken_trial,
)
from emotailor.config import first_problem, merge
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, EmotailorError, InterruptedRunError
from emotailor.files import remove_folder, write_json
from emotailor.training.history import EpochRecord
from emotailor.verified import read_json

if TYPE_CHECKING:
    from optuna.trial import Trial

    from emotailor.training.run_config import RunConfig

FILE = "search.json"
SCORES = ("micro_f1", "mean_average_precision")
"""Validation scores whose mean is the value of a trial: one with a threshold, and one without."""

CHOSEN = {"training": {"select_by": "tuned"}}
"""Settings of all trials: the threshold is tuned for each, or it would rank them."""

Outcome = Literal["done", "pruned"]


class SystemSearch(BaseModel):
    """The search of one system, as the processes that carry out its trials are told of it.

    Attributes:
        system: name of the system.
        name: of the search and the system, in the storage.
        storage: address; None for the file in the folder of the search.
        place: what tells this folder on this machine from those of other hosts.
        data: path of the data set.
        preset: where settings that nobody gives come from.
        given: tables of settings; later ones win, and all win over what a trial chooses.
        space: what is tried.
        seed: of the search.
        seeds: of the runs of each trial.
        trials: how many there are to be.
        prune: whether trials that are worse than others are ended early.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["emotailor-search"] = "emotailor-search"
    system: str
    name: str
    storage: str | None
    place: str
    data: str
    preset: Literal["tuned", "paper", "authors"]
    given: tuple[dict[str, Any], ...]
    space: tuple[dict[str, Any], ...]
    seed: int
    seeds: tuple[int, ...]
    trials: int
    prune: bool

    def write(self, folder: Path) -> None:
        """Write it into the folder of its system."""
        write_json(folder / FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> "SystemSearch":
        """Read what :meth:`write` has written.

        Raises:
            ConfigError: it is not there, or damaged.
        """
        file = folder / FILE
        expected = "the file that `emotailor tune` has written there"
        fix = "run `emotailor tune` again, which writes it"
        values = read_json(file, fix=fix, error=ConfigError, expected=expected)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = f"{file}: {first_problem(error)}"
            raise ConfigError(found, expected=expected, fix=fix) from error

    @property
    def choices(self) -> Space:
        """What is tried."""
        return space_from(self.space)

    def open(self, folder: Path) -> Any:
        """Return the trials of the system, from the storage."""
        storage = open_storage(folder.parent, self.storage)
        return open_study(storage, self.name, self.choices, seed=self.seed, trials=self.trials)

    def config(self, chosen: Mapping[str, Any], seed: int) -> "RunConfig":
        """Return the settings of one run of a trial.

        Args:
            chosen: name of a choice -> the option that was taken.
            seed: of the run.
        """
        layers = [CHOSEN, settings_of(chosen), *self.given]
        card = open_dataset(self.data).card
        return build_config(self.system, self.preset, layers, seed, card=card)


def value_of(record: EpochRecord) -> float:
    """Return what a trial is judged by: the mean of :data:`SCORES`, 0 for an undefined one."""
    scores = [record.valid.get(name) or 0.0 for name in SCORES]
    return sum(scores) / len(scores)


class _Judge:
    """Tells the storage what each epoch has reached, and ends a run that is worse than others.

    The value of an epoch is the best so far, and the mean over the runs of the trial.

    Args:
        trial: the trial.
        prune: whether runs are ended early.

    Attributes:
        is_pruned: whether the last epoch was not good enough.
    """

    def __init__(self, trial: "Trial", *, prune: bool) -> None:
        self.trial = trial
        self.prune = prune
        self.is_pruned = False
        self.best: list[float] = []  # of the runs that have ended
        self.current = 0.0
        self.step = 0
        self._told = set(trial.study.trials[trial.number].intermediate_values)

    def begin_run(self) -> None:
        self.current = 0.0

    def end_run(self, best: EpochRecord) -> None:
        self.best.append(value_of(best))

    def __call__(self, record: EpochRecord) -> bool:
        """Take the record of an epoch; return whether the training goes on."""
        self.current = max(self.current, value_of(record))
        self.step += 1
        if self.step not in self._told:
            runs = [*self.best, self.current]
            self.trial.report(sum(runs) / len(runs), self.step)
            self._told.add(self.step)
        self.is_pruned = self.prune and self.trial.should_prune()
        return not self.is_pruned


def carry_out_trial(folder: Path) -> Outcome | None:
    """Carry out one trial of a system, or go on with one whose process has ended.

    Args:
        folder: of the system in the search.

    Returns:
        How it ended; None where all trials have been begun.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; another call goes on with the trial.
        EmotailorError: the trial failed, which is noted.
    """
    from optuna.trial import TrialState

    search = SystemSearch.read(folder)
    study = search.open(folder)
    taken = taken_trial(study, search.choices, folder, trials=search.trials, place=search.place)
    with taken as trial:
        if trial is None:
            return None
        runs = folder_of(folder, trial.number)
        try:
            value = _train(search, trial, runs)
        except InterruptedRunError:
            raise
        except EmotailorError as error:
            trial.set_user_attr(WHY, str(error))
            study.tell(trial, state=TrialState.FAIL)
            remove_folder(runs)
            raise

        outcome: Outcome = "done"
        if value is None:
            outcome = "pruned"
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
        # what is to be known of it is stored; its models take space
        remove_folder(runs)
        return outcome


def _train(search: SystemSearch, trial: "Trial", runs: Path) -> float | None:
    """Train a trial with every seed; return its value, or None where it was ended early."""
    from emotailor.training.progress import reporter_for
    from emotailor.training.run import train

    judge = _Judge(trial, prune=search.prune)
    found: list[EpochRecord] = []
    for seed in search.seeds:
        run = runs / f"seed{seed}"
        judge.begin_run()
        for record in _done_before(run):
            judge(record)
        if judge.is_pruned:
            return None

        config = search.config(trial.params, seed)
        result = train(config, run, reporter_for("auto"), on_epoch=judge)
        if judge.is_pruned:
            return None
        judge.end_run(result.best)
        found.append(result.best)

    for name in SCORES:
        scores = [record.valid.get(name) or 0.0 for record in found]
        trial.set_user_attr(name, sum(scores) / len(scores))
    trial.set_user_attr("seconds", sum(record.seconds for record in found))
    return sum(map(value_of, found)) / len(found)


def _done_before(run: Path) -> list[EpochRecord]:
    """Return the epochs that an earlier process has trained: a training does not tell of them."""
    from emotailor.training.checkpoint import read_progress

    progress = read_progress(run / "checkpoint")
    return [] if progress is None else progress.history


def best_settings(search: SystemSearch, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial as `emotailor benchmark --config` takes them."""
    settings = merge(CHOSEN, settings_of(chosen), *search.given)
    # these are given to all systems by options, and are of this machine
    settings.get("data", {}).pop("path", None)
    settings.get("training", {}).pop("device", None)
    return {room: values for room, values in settings.items() if values}
