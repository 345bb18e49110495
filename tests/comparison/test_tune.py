"""A search: what it tries, that a stop changes nothing, and that the best settings are kept."""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from emotailor.comparison import trial as trial_module
from emotailor.comparison import tune as tune_module
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.processes import Ended, Job
from emotailor.comparison.search_space import (
    option_of,
    search_space,
    settings_of,
    size_of,
    to_toml,
)
from emotailor.comparison.trial import carry_out_trial, value_of
from emotailor.comparison.trials import JOURNAL, ended_trials, folder_of, note_deaths
from emotailor.comparison.tune import TunePlan, plan_tune, run_tune
from emotailor.errors import ConfigError, InterruptedRunError, ModelError
from emotailor.files import cut_torn_line
from emotailor.models.system import System
from emotailor.models.table import SYSTEMS
from emotailor.training.history import EpochRecord
from tests.helpers import SMALL
from tests.runs.runs import run_cli

SIZES = [f"tailor:model.{key}={json.dumps(value)}" for key, value in SMALL.to_json().items()]
SETTINGS = [*SIZES, "training.device=cpu", "training.epochs=3", "training.batch_size=8"]
QUIET = Console(quiet=True)
RATES = "training.learning_rate=1e-4,1e-3,3e-3,1e-2"


class KilledError(BaseException):
    """Stands for SIGKILL: nothing behind it is carried out but what the system does."""


def record(epoch: int, score: float) -> EpochRecord:
    valid: dict[str, float | None] = {"loss": 1.0, "accuracy": 0.5, "micro_f1": score}
    valid["mean_average_precision"] = score
    return EpochRecord(epoch=epoch, step=epoch, train={"total": 1.0}, valid=valid, seconds=1.0)


def plan_of(data: Path, out: Path, **options: Any) -> TunePlan:
    given = {"models": ["tailor"], "trials": 7, "tried": [RATES], "settings": SETTINGS, "jobs": 1}
    return plan_tune(data, out, **{**given, **options})


def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let trials be carried out in this process: to start one for each takes seconds."""
    outcomes: list[str] = []

    def run_jobs(jobs: Sequence[Job], *, on_end: Callable[[Ended], None], **_: Any) -> int | None:
        for job in jobs:
            code, why = 0, ""
            try:
                outcomes.append(str(carry_out_trial(Path(job.command[4]))))
            except InterruptedRunError:
                return 15
            except ModelError as error:
                code, why = 5, str(error)
            on_end(Ended(job, code, 1.0, why))
        return None

    monkeypatch.setattr(tune_module, "run_jobs", run_jobs)
    return outcomes


def ended_in(plan: TunePlan) -> list[tuple[Any, ...]]:
    """What there is to know of the trials of a search, but for times."""
    found = []
    for row, search in plan.searches.values():
        for one in ended_trials(search.open(plan.out / row.folder), search.trials):
            about = {name: one.user_attrs.get(name) for name in trial_module.SCORES}
            value = one.value if one.state.name == "COMPLETE" else None
            found.append(
                (
                    row.name,
                    one.number,
                    one.state.name,
                    one.params,
                    value,
                    about,
                    one.intermediate_values,
                )
            )
    return found


def fake_train(
    monkeypatch: pytest.MonkeyPatch, scores: Callable[[Any], Sequence[float]]
) -> list[Any]:
    """Let a training be a list of scores that its settings decide; return what was trained."""
    trained = []

    class Result:
        def __init__(self, best: EpochRecord) -> None:
            self.best = best

    def train(config: Any, run: Path, reporter: Any, on_epoch: Any) -> Result:
        trained.append(config)
        records = []
        for number, score in enumerate(scores(config), 1):
            records.append(record(number, score))
            if on_epoch(records[-1]) is False:
                break
        return Result(max(records, key=value_of))

    monkeypatch.setattr("emotailor.training.run.train", train)
    return trained


# ---------------------------------------------------------------------- what is tried


def test_the_space_of_a_system() -> None:
    row = SYSTEMS["tailor"]
    space = search_space(row, ["training.learning_rate=1e-4,1e-3", "model.dropout=0.0,0.5"])
    assert [choice.name for choice in space] == [
        "model 1",
        "model 2",
        "model 3",
        "training.weight_decay",
        "training.learning_rate",
        "model.dropout",
    ]
    assert size_of(space) == 3 * 2 * 2 * 2 * 2 * 2
    assert space[4].options == (
        '{"training": {"learning_rate": 0.0001}}',
        '{"training": {"learning_rate": 0.001}}',
    )
    assert [choice.keys for choice in space[:2]] == [
        "audio_layers, feedforward_size, hidden_size, initial_std, text_layers, visual_layers",
        "input_dropout",
    ]
    # what is asked for wins over what the system tries of the same setting
    chosen = {choice.name: choice.options[-1] for choice in space}
    assert settings_of(chosen)["model"]["dropout"] == 0.5
    assert settings_of(chosen)["training"] == {"weight_decay": 0.1, "learning_rate": 0.001}


def test_a_system_without_gradients_has_no_learning_rate() -> None:
    names = [choice.name for choice in search_space(SYSTEMS["br"], by_gradients=False)]
    assert names == ["model 1"]


@pytest.mark.parametrize("text", ["training.dropout", "training.dropout=", "x=1,,2"])
def test_what_is_no_setting_with_values(text: str) -> None:
    with pytest.raises(ConfigError, match="--try"):
        search_space(SYSTEMS["br"], [text])


def test_few_settings_are_tried_in_order_and_each_once() -> None:
    space = search_space(SYSTEMS["br"], ["training.weight_decay=0,0.1,0.2"])
    names = [choice.name for choice in space]
    taken = {
        tuple(option_of(space, number, name) for name in names) for number in range(size_of(space))
    }
    assert len(taken) == size_of(space)


def test_settings_as_a_file() -> None:
    tables: dict[str, dict[str, Any]] = {
        "br": {"model": {"c": 0.5}},
        "my.module:Mine": {"training": {"rule": "a"}},
    }
    text = to_toml(tables, "Found.")
    assert text.startswith("# Found.\n")
    assert tomllib.loads(text) == tables


def test_every_system_can_be_searched(data: Path, tmp_path: Path) -> None:
    """Every option of every system is a setting that it can be trained with."""
    plan = plan_tune(data, tmp_path / "out", trials=4, settings=["training.device=cpu"])
    assert [one.row.name for one in plan.systems] == list(SYSTEMS)
    searched = [search.trials for _, search in plan.searches.values()]
    assert searched == [4] * len(searched)  # equal effort
    assert len(searched) >= 12
    assert not (tmp_path / "out").exists()


def test_a_wrong_option_is_refused_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        plan_of(data, tmp_path / "out", tried=["training.learning_rate=fast,slow"])
    with pytest.raises(ConfigError, match="learn_rate"):
        plan_of(data, tmp_path / "out", tried=["training.learn_rate=0.1"])


# ---------------------------------------------------------------------- stops


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TunePlan]:
    """A search that was never stopped."""
    with pytest.MonkeyPatch.context() as patch:
        here(patch)
        patch.setattr("emotailor.training.precision.bf16_gain", lambda device: 1.0)
        plan = plan_of(data, tmp_path_factory.mktemp("whole") / "out", trials=6)
        run_tune(plan, QUIET)
        yield plan


def test_a_search_that_is_killed_anywhere_ends_as_one_that_never_was(
    data: Path, whole: TunePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind a new trial, between its epochs, before it is told, and within a line."""
    from optuna.study import Study

    trained: list[int] = []
    begin, told, asked, epochs = (
        trial_module._train,
        Study.tell,
        Study.ask,
        trial_module._Judge.__call__,
    )
    calls = {"ask": 0, "tell": 0, "before": 0, "after": 0}

    def kill_at(what: str, numbers: set[int]) -> None:
        calls[what] += 1
        if calls[what] in numbers:
            raise KilledError

    def ask(self: Any) -> Any:
        found = asked(self)
        kill_at("ask", {2})
        return found

    def tell(self: Any, *args: Any, **kwargs: Any) -> Any:
        kill_at("tell", {1, 5})
        return told(self, *args, **kwargs)

    def epoch(self: Any, given: EpochRecord) -> bool:
        kill_at("before", {5, 11})
        goes_on = epochs(self, given)
        kill_at("after", {8})
        return goes_on

    def train(search: Any, one: Any, runs: Path) -> Any:
        trained.append(one.number)
        return begin(search, one, runs)

    monkeypatch.setattr(trial_module, "_train", train)
    monkeypatch.setattr(Study, "ask", ask)
    monkeypatch.setattr(Study, "tell", tell)
    monkeypatch.setattr(trial_module._Judge, "__call__", epoch)
    here(monkeypatch)

    plan = plan_of(data, tmp_path / "out", trials=6)
    kills = 0
    for _ in range(20):
        try:
            run_tune(plan, QUIET)
            break
        except KilledError:
            kills += 1
            with (plan.out / JOURNAL).open("ab") as file:
                file.write(b'{"op_code":5,"worker')
    assert kills == 6

    assert ended_in(plan) == ended_in(whole)
    assert (plan.out / "best.toml").read_text() == (whole.out / "best.toml").read_text()
    # begun again is only what had not ended
    assert len(trained) == 6 + kills - 1  # one was killed before its training
    assert sorted(set(trained)) == list(range(6))
    assert not list(plan.out.glob("*/trial0*"))


def test_what_is_done_is_not_done_again(whole: TunePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = here(monkeypatch)
    before = ended_in(whole)
    result = run_tune(whole, QUIET)
    assert outcomes == []
    assert ended_in(whole) == before
    assert list(result.best) == ["tailor"]


def test_the_best_settings_are_those_of_the_best_trial(data: Path, whole: TunePlan) -> None:
    ended = ended_in(whole)
    values = [(value, -number) for _, number, _, _, value, _, _ in ended if value is not None]
    _, number = max(values)
    params = next(one[3] for one in ended if one[1] == -number)
    best = tomllib.loads((whole.out / "best.toml").read_text())["tailor"]
    chosen = settings_of(params)
    assert best["training"]["learning_rate"] == chosen["training"]["learning_rate"]
    assert best["training"]["select_by"] == "tuned"
    assert best["training"]["epochs"] == 3
    assert "device" not in best["training"]  # it is of the machine

    # what is given wins over what is tried, and a benchmark takes all of it
    assert best["model"]["hidden_size"] == SMALL.hidden_size
    planned = plan_benchmark(
        data, whole.out.parent / "b", models=["tailor"], config_file=whole.out / "best.toml"
    )
    config = planned.systems[0].runs[0].config
    assert config.training.learning_rate == chosen["training"]["learning_rate"]
    assert config.data.path == str(data)


def test_the_value_is_the_mean_of_two_scores(whole: TunePlan) -> None:
    found = [one for one in ended_in(whole) if one[4] is not None]
    assert found
    for _, _, _, _, value, about, told in found:
        scores = [about["micro_f1"], about["mean_average_precision"]]
        assert value == pytest.approx(sum(scores) / 2, abs=1e-12)
        # each epoch tells the best so far
        steps = [told[step] for step in sorted(told)]
        assert steps == sorted(steps)


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for content, left in (
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"one\ntw", b"one\n"),
        (b"on", b""),
        (b"", b""),
        (b"a\n" + b"x" * 200_000, b"a\n"),
    ):
        file.write_bytes(content)
        cut_torn_line(file)
        assert file.read_bytes() == left


# ---------------------------------------------------------------------- early ends, failures


def test_a_trial_worse_than_the_median_is_ended(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [float(number) / 1000 for number in range(1, 9)]
    tried = ["training.learning_rate=" + ",".join(map(str, rates)), "training.weight_decay=0"]

    def scores(config: Any) -> list[float]:
        # the seventh is worse than all, the eighth better
        level = {7: 0.1, 8: 0.9}.get(round(1000 * config.training.learning_rate), 0.5)
        return [level, level + 0.01, level + 0.02, level + 0.03]

    row = SYSTEMS["br"]
    monkeypatch.setitem(SYSTEMS, "tailor", _with_space(SYSTEMS["tailor"], ()))
    fake_train(monkeypatch, scores)
    outcomes = here(monkeypatch)
    plan = plan_of(data, tmp_path / "out", trials=8, tried=tried)
    result = run_tune(plan, QUIET)

    assert outcomes == ["done"] * 6 + ["pruned", "done"]
    ended = ended_in(plan)
    # not before it had a chance
    assert sorted(ended[6][6]) == [1, 2]
    assert result.found[0].count("PRUNED") == 1
    assert result.best["tailor"]["training"]["learning_rate"] == 0.008
    lines = (plan.out / "trials.csv").read_text().splitlines()
    assert len(lines) == 9
    assert lines[7].startswith("tailor,6,ended,,")
    assert row.name not in result.best

    all_of_them = plan_of(data, tmp_path / "all", trials=8, tried=tried, prune=False)
    run_tune(all_of_them, QUIET)
    assert {one[2] for one in ended_in(all_of_them)} == {"COMPLETE"}


def _with_space(row: System, search: Sequence[Any]) -> System:
    from dataclasses import replace

    return replace(row, search=search)


def test_runs_of_several_seeds_are_one_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_train(monkeypatch, lambda config: [0.1 * (config.training.seed - 41), 0.2])
    here(monkeypatch)
    plan = plan_of(data, tmp_path / "out", trials=1, seeds=2)
    run_tune(plan, QUIET)
    (only,) = ended_in(plan)
    assert only[4] == pytest.approx(0.2)
    # run 42: .1, .2; run 43 beside the .2 of the first: .2, .2
    assert only[6] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.2, 4: 0.2})


def test_a_failed_trial_costs_itself(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(config: Any) -> list[float]:
        if config.training.learning_rate == 1e-3:
            raise ModelError("the loss became NaN", fix="a smaller rate")
        return [0.3]

    fake_train(monkeypatch, scores)
    here(monkeypatch)
    plan = plan_of(data, tmp_path / "out", trials=9)
    result = run_tune(plan, QUIET)
    found = result.found[0]
    assert len(found.trials) == 9
    assert 0 < found.count("FAIL") < 9
    assert result.failed == found.count("FAIL")
    assert "the loss became NaN" in (plan.out / "trials.csv").read_text()


def test_a_trial_of_which_processes_die_is_given_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly: list[int] = []

    def run_jobs(jobs: Sequence[Job], *, on_end: Callable[[Ended], None], **_: Any) -> None:
        for job in jobs:
            try:
                carry_out_trial(Path(job.command[4]))
            except KilledError:
                on_end(Ended(job, -9, 1.0, "killed by SIGKILL (out of memory?)"))
            else:
                on_end(Ended(job, 0, 1.0))

    def train(search: Any, one: Any, runs: Path) -> float:
        if one.number == 1:
            deadly.append(one.number)
            raise KilledError
        for name in trial_module.SCORES:
            one.set_user_attr(name, 0.5)
        return 0.5

    monkeypatch.setattr(tune_module, "run_jobs", run_jobs)
    monkeypatch.setattr(trial_module, "_train", train)
    plan = plan_of(data, tmp_path / "out", trials=3)
    result = run_tune(plan, QUIET)
    assert [one[2] for one in ended_in(plan)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert deadly == [1, 1]
    assert result.failed == 1
    assert "killed by SIGKILL" in (plan.out / "trials.csv").read_text()


# ---------------------------------------------------------------------- storages, folders


def test_trials_in_a_database_and_those_of_other_hosts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{tmp_path}/trials.db"
    fake_train(monkeypatch, lambda config: [0.5])
    here(monkeypatch)
    plan = plan_of(data, tmp_path / "out", trials=3, storage=address)
    row, search = plan.searches["tailor"]
    study = search.open(plan.out / row.folder)
    # another host is at the first
    study.ask().set_user_attr("place", "elsewhere:/out")
    with pytest.raises(ConfigError, match="1 trial of tailor are under way elsewhere"):
        run_tune(plan, QUIET)
    assert [one[1] for one in ended_in(plan)] == [1, 2]

    study.tell(0, 0.25)
    result = run_tune(plan, QUIET)
    assert len(result.found[0].trials) == 3
    assert not (plan.out / JOURNAL).exists()


def test_a_storage_that_is_none(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", storage="nosuch://user:secret@host/trials")
    with pytest.raises(ConfigError, match="nosuch://user@host/trials") as caught:
        run_tune(plan, QUIET)
    assert "secret" not in str(caught.value)


def test_other_settings_need_another_folder(data: Path, whole: TunePlan) -> None:
    with pytest.raises(ConfigError, match="with other settings: seed was 42"):
        plan_of(data, whole.out, seed=1, trials=6)
    with pytest.raises(ConfigError, match="space"):
        plan_of(data, whole.out, tried=["training.learning_rate=0.5,0.6"])
    # more trials, and more systems, go on
    assert plan_of(data, whole.out, trials=9).searches["tailor"][1].trials == 9
    more = plan_of(data, whole.out, models=["br", "tailor"], trials=6)
    assert more.searches["tailor"][1].name == whole.searches["tailor"][1].name

    foreign = whole.out.parent / "foreign"
    foreign.mkdir()
    (foreign / "x").write_text("x")
    with pytest.raises(ConfigError, match="is no search, and not empty"):
        plan_of(data, foreign)


def test_a_death_is_noted_of_nobodys_trial_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.locks import Lock

    plan = plan_of(data, tmp_path / "out")
    row, search = plan.searches["tailor"]
    folder = plan.out / row.folder
    study = search.open(folder)
    study.ask()
    study.ask()
    folder_of(folder, 0).mkdir(parents=True)
    holds = Lock(folder_of(folder, 0))
    assert holds.acquire()
    note_deaths(study, folder, trials=7, place=search.place, why="killed")
    deaths = [one.user_attrs.get("deaths", 0) for one in study.get_trials()]
    assert deaths == [0, 1]
    holds.release()


def test_without_the_library(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="needs the package optuna") as caught:
        plan_of(data, tmp_path / "out")
    assert "emotailor[tune]" in str(caught.value)


# ---------------------------------------------------------------------- as a command


def test_the_command(data: Path, tmp_path: Path) -> None:
    """In processes of its own, two at a time."""
    out = tmp_path / "search"
    command = ["tune", "--data", str(data), "--out", str(out), "--models", "br", "--trials", "2"]
    command += ["--set", "training.device=cpu", "--jobs", "2"]
    planned = run_cli(*command, "--dry-run")
    assert planned.code == 0
    assert "2 trainings, 2 at a time" in planned.out
    assert not out.exists()

    done = run_cli(*command)
    assert done.code == 0, done.err
    assert done.out.count("done      BR trial") == 2
    assert f"--config {out / 'best.toml'}" in done.out
    best = tomllib.loads((out / "best.toml").read_text())
    assert set(best["br"]) == {"model", "training"}
    assert (out / "table.md").read_text().splitlines()[2].startswith("| BR | 2 | 0 | 0 | ")
    run_cli(*command, "--seed", "3").failed(3, "with other settings: seed was 42")
