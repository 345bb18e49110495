"""The trials of a search in Optuna's storage, of which any number of processes take their part.

Whatever a process does can be taken up by another: a trial that was begun and whose process has
ended is gone on with, from its checkpoint, under its number. What a trial tries depends on the
search, its number and the trials that have ended, and not on who asks: a search by one process at a
time is the same however often it is stopped.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from emotailor.comparison.search_space import Choice, Space, option_of, size_of
from emotailor.encoders.packages import need
from emotailor.errors import ConfigError
from emotailor.files import cut_torn_line, make_folder
from emotailor.locks import Lock

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    Storage: TypeAlias = BaseStorage

JOURNAL = "journal.log"
COMMAND = 'pip install "emotailor[tune]"'

STARTED_BY_CHANCE = 5
"""Trials of a system before the ones that have ended count for the next, and for pruning."""

WARM_EPOCHS = 2
"""Epochs of a trial before it may be ended for being worse than others."""

MOST_DEATHS = 2
"""Processes that may die of a trial, as for a lack of memory, before it counts as failed."""

WHY = "why"
DEATHS = "deaths"
PLACE = "place"
"""What is noted of a trial: why it failed, how many processes died of it, and where it runs."""


def optuna() -> Any:
    """Return the library, which says warnings alone.

    Raises:
        ConfigError: it is not installed.
    """
    library = need("optuna", "emotailor tune", COMMAND)
    library.logging.set_verbosity(library.logging.ERROR)
    return library


def open_storage(out: Path, address: str | None) -> "Storage":
    """Return where trials are stored: a file in the folder, or what Optuna has an address for.

    Args:
        out: folder of the search.
        address: such as ``postgresql://…``, for several hosts; None for the file.

    Raises:
        ConfigError: the library is not installed, or there is no such storage.
    """
    library = optuna()
    if address is None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        make_folder(out)
        file = out / JOURNAL
        return JournalStorage(JournalFileBackend(str(file), lock_obj=_journal_lock(file)))

    try:
        storage: Storage = library.storages.get_storage(address)
    except Exception as error:  # each database has errors of its own
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--storage {_without_password(address)} cannot be opened: {first}",
            expected="an address that Optuna knows and reaches, such as sqlite:///trials.db",
            fix="correct it, install the driver of the database, or leave it out",
        ) from error
    return storage


def _without_password(address: str) -> str:
    """Return an address that may be printed."""
    scheme, colon, rest = address.partition("://")
    known, at, host = rest.rpartition("@")
    user = known.partition(":")[0]
    return f"{scheme}{colon}{user}{at}{host}"


def _journal_lock(file: Path) -> Any:
    """Return a lock for the journal, which the system releases when its process ends."""
    from filelock import FileLock
    from optuna.storages.journal._file import BaseJournalFileLock

    lock = FileLock(f"{file}.lock")

    class JournalLock(BaseJournalFileLock):
        def acquire(self) -> bool:
            lock.acquire()
            # a process that was killed while it wrote leaves half a line
            cut_torn_line(file)
            return True

        def release(self) -> None:
            lock.release()

    return JournalLock()


def open_study(storage: "Storage", name: str, space: Space, *, seed: int, trials: int) -> "Study":
    """Return the trials of one system, made if there are none.

    Args:
        storage: where they are.
        name: of the search and the system.
        space: what is tried.
        seed: of the search.
        trials: how many there are to be.
    """
    library = optuna()
    from optuna.pruners import MedianPruner

    return library.create_study(
        storage=storage,
        study_name=name,
        sampler=_sampler(space, seed=seed, trials=trials),
        pruner=MedianPruner(n_startup_trials=STARTED_BY_CHANCE, n_warmup_steps=WARM_EPOCHS),
        direction="maximize",
        load_if_exists=True,
    )


def _sampler(space: Space, *, seed: int, trials: int) -> Any:
    """Return what chooses settings: all in order where there are few, else a TPE.

    By itself Optuna's sampler goes on with one random state, which a stopped process loses. Here
    every choice has a seed of its own.
    """
    from optuna.samplers import BaseSampler, TPESampler

    class Sampler(BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(
            self, study: Any, trial: Any, param_name: str, param_distribution: Any
        ) -> Any:
            if size_of(space) <= trials:
                return option_of(space, trial.number, param_name)
            own = TPESampler(
                seed=_seed_of(seed, study.study_name, trial.number, param_name),
                n_startup_trials=STARTED_BY_CHANCE,
            )
            return own.sample_independent(study, trial, param_name, param_distribution)

    return Sampler()


def _seed_of(*parts: object) -> int:
    """Return a seed that depends on all of some things, and on nothing else."""
    text = "\n".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


# ---------------------------------------------------------------------- taking one


def ended_trials(study: "Study", trials: int) -> "list[FrozenTrial]":
    """Return the trials that have ended, well or not, in the order of their numbers."""
    return [one for one in _begun(study, trials) if one.state.is_finished()]


def _begun(study: "Study", trials: int) -> "list[FrozenTrial]":
    return [one for one in study.get_trials(deepcopy=False) if one.number < trials]


def _under_way(study: "Study", trials: int, place: str) -> "list[FrozenTrial]":
    """Return the trials that have not ended, but for those of other hosts."""
    from optuna.trial import TrialState

    begun = [one for one in _begun(study, trials) if one.state == TrialState.RUNNING]
    return [one for one in begun if one.user_attrs.get(PLACE, place) == place]


def folder_of(out: Path, number: int) -> Path:
    """Return where the runs of a trial are while it is under way."""
    return out / f"trial{number:04d}"


@contextmanager
def taken_trial(
    study: "Study", space: Space, out: Path, *, trials: int, place: str
) -> "Iterator[Trial | None]":
    """Yield a trial that is this process's alone: one that was left, or a new one.

    Args:
        study: of the system.
        space: what is tried.
        out: folder of the system in the search.
        trials: how many there are to be.
        place: what tells this folder on this machine from those of other hosts.

    Yields:
        The trial with its settings chosen; None where all have been begun.
    """
    trial, lock = _take(study, out, trials=trials, place=place)
    if trial is None or lock is None:
        yield None
        return
    try:
        for choice in space:
            trial.suggest_categorical(choice.name, choice.options)
        yield trial
    finally:
        lock.release()


def _take(
    study: "Study", out: Path, *, trials: int, place: str
) -> "tuple[Trial, Lock] | tuple[None, None]":
    from optuna.trial import Trial, TrialState

    for left in _under_way(study, trials, place):
        lock = _lock(folder_of(out, left.number))
        if not lock.acquire():
            continue
        # it may have ended just now
        current = study.get_trials(deepcopy=False)[left.number]
        if current.state == TrialState.RUNNING and not _has_died_of(study, current):
            return Trial(study, current._trial_id), lock
        lock.release()

    while len(_begun(study, trials)) < trials:
        trial = study.ask()
        if trial.number >= trials:  # another process began the last one at this moment
            study.tell(trial, state=TrialState.FAIL)
            break
        lock = _lock(folder_of(out, trial.number))
        if lock.acquire():
            trial.set_user_attr(PLACE, place)
            return trial, lock
    return None, None


def _lock(folder: Path) -> Lock:
    make_folder(folder)
    return Lock(folder)


def _has_died_of(study: "Study", trial: "FrozenTrial") -> bool:
    """Whether processes have died of a trial too often; then it counts as failed."""
    from optuna.trial import TrialState

    if trial.user_attrs.get(DEATHS, 0) < MOST_DEATHS:
        return False
    study.tell(trial.number, state=TrialState.FAIL)
    return True


def note_deaths(study: "Study", out: Path, *, trials: int, place: str, why: str) -> None:
    """Note that a process died, of whichever trial nobody holds.

    Args:
        study: of the system.
        out: folder of the system in the search.
        trials: how many there are to be.
        place: as for :func:`taken_trial`.
        why: how the process ended.
    """
    from optuna.trial import Trial

    for left in _under_way(study, trials, place):
        lock = _lock(folder_of(out, left.number))
        if lock.acquire():
            trial = Trial(study, left._trial_id)
            trial.set_user_attr(DEATHS, left.user_attrs.get(DEATHS, 0) + 1)
            trial.set_user_attr(WHY, why)
            lock.release()


def space_from(values: Sequence[Mapping[str, Any]]) -> Space:
    """Return a space that was stored."""
    return tuple(Choice(value["name"], tuple(value["options"])) for value in values)
