"""The whole of the paper from one command: what is run, what is not run twice, what is shown."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from emotailor.comparison import plan as plans
from emotailor.comparison.processes import Ended, Job
from emotailor.comparison.published import TABLE_2
from emotailor.comparison.results import read_benchmark
from emotailor.data.sample import Sample
from emotailor.data.store import write_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.figures import drawing
from emotailor.files import write_json
from emotailor.folders import held
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.paper import plan as paper_plan
from emotailor.paper.page import _beside, _reading
from emotailor.paper.plan import Reproduction, plan_paper
from emotailor.paper.reproduce import reproduce_paper, run_paper
from emotailor.paper.results import (
    VERSION,
    StoredReproduction,
    read_reproduction,
    write_reproduction,
)
from emotailor.paper.time import START_SECONDS, Expected, _Speeds, expect, remarks
from emotailor.report.page import Text
from emotailor.training import timing
from emotailor.training.run_folder import RunFolder
from emotailor.verified import with_hash
from tests import kills
from tests.helpers import DIMS, LABELS, random_samples, small_dataset
from tests.runs.runs import Outcome, one_thread, run_cli

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny.toml"
ROWS = 15 + 15 + 11 + 1  # Table 2 twice, Table 3 without its full model, Figure 6 without its


class InProcess:
    """Runs the commands of trainings in this process, for ``run_jobs``.

    Args:
        fails: whether a job is to fail.
        stop_after: how many jobs run before SIGINT arrives.
    """

    def __init__(
        self, fails: Callable[[Job], bool] = lambda _: False, stop_after: int | None = None
    ) -> None:
        self.fails, self.stop_after = fails, stop_after
        self.ran: list[str] = []

    def __call__(
        self,
        jobs: Sequence[Job],
        *,
        on_start: Callable[[Job], None],
        on_end: Callable[[Ended], None],
        **_: Any,
    ) -> int | None:
        for job in jobs:
            if self.stop_after is not None and len(self.ran) == self.stop_after:
                return int(signal.SIGINT)
            on_start(job)
            self.ran.append(job.log.with_suffix("").relative_to(job.log.parents[2]).as_posix())
            if self.fails(job):
                on_end(Ended(job, 5, 0.0, "it had to fail"))
                continue
            outcome = run_cli(*job.command[3:])
            on_end(Ended(job, outcome.code, 0.1, outcome.err))
        return None


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of each kind of run is timed, and no process is started for it."""
    monkeypatch.setattr(timing, "time_training", partial(timing.time_training, budget=0.0))
    monkeypatch.setattr(timing, "time_start", lambda: 0.25)


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are empty pictures: drawing them takes long, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "render", lambda figure, file_format: b"<svg></svg>")
        yield


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of samples, three visual and two audio steps a word."""
    path = tmp_path_factory.mktemp("data") / "unaligned"
    rates = {"visual": 3, "audio": 2, "text": 1}

    def stretched(sample: Sample) -> Sample:
        return replace(
            sample, sequences={m: np.repeat(x, rates[m], 0) for m, x in sample.sequences.items()}
        )

    splits = {
        name: [stretched(s) for s in random_samples(size, seed=k, prefix=name, longest=5)]
        for k, (name, size) in enumerate({"train": 12, "valid": 7, "test": 5}.items())
    }
    write_dataset(path, splits, name="u", label_names=LABELS, dims=DIMS, aligned=False)
    return path


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "aligned"
    small_dataset(path, train=12, valid=7, test=5)
    return path


def command(data: Path, out: Path, *more: str | Path) -> Outcome:
    """``emotailor reproduce paper`` with one seed and tiny systems."""
    return run_cli(
        "reproduce", "paper", "--data", data, "--out", out, "--seeds", "1", "--config", TINY,
        "--resamples", "20", *more, width=100,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(
    aligned: Path, unaligned: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome, list[str]]:
    """Everything, from one command: its folder, what it printed, what it trained."""
    out, runner = tmp_path_factory.mktemp("paper") / "out", InProcess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "time_training", None)  # nobody has asked for it
        patch.setattr("emotailor.comparison.processes.run_jobs", runner)
        outcome = command(aligned, out, "--unaligned", unaligned)
    return out, outcome, runner.ran


@pytest.fixture
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short paper: two systems, and one variant beside the full model."""
    monkeypatch.setattr(paper_plan, "SYSTEMS", ("br", "tailor"))
    rows = {name: ABLATIONS[name] for name in ("identical", "full")}
    monkeypatch.setattr(paper_plan, "ABLATIONS", rows)


# ---------------------------------------------------------------------- all of it


def test_everything_from_one_command(done: tuple[Path, Outcome, list[str]]) -> None:
    out, outcome, ran = done
    assert outcome.code == 0, outcome.out + outcome.err
    assert len(ran) == len(set(ran)) == ROWS
    assert f"{ROWS} runs: 0 done, 0 go on, {ROWS} to do; very roughly " in outcome.out
    for setting in ("aligned", "unaligned"):
        found = read_benchmark(out / f"table2-{setting}" / "benchmark.json")
        assert set(found.systems) == {*TABLE_2["aligned"], "carat", "lddu"}
        assert {system.status for system in found.systems.values()} == {"done"}
        assert found.data.aligned == (setting == "aligned")
    table3 = read_benchmark(out / "table3" / "ablation.json")
    assert list(table3.systems) == list(ABLATIONS)
    assert {system.status for system in table3.systems.values()} == {"done"}
    # one training for both tables
    (run,) = table3.systems["full"].runs
    assert run.folder == str(out / "table2-aligned" / "tailor" / "seed42")
    assert not (out / "table3" / "full").exists()
    figure6 = read_benchmark(out / "figure6" / "ablation.json").systems["without_terms"]
    assert figure6.config is not None
    assert figure6.config["model"]["refinement_losses"] == ["common_semantics"]
    index = json.loads((out / "figures" / "index.json").read_text())
    assert index["against"] == "seed42"
    assert {"figure4-losses.svg", "figure5-discriminator.svg"} <= set(index["written"])


def test_remarks_on_the_time_stand_in_one_bracket() -> None:
    stopped = Expected({}, {}, {}, {}, may_stop=True, is_rough=True)
    assert remarks(stopped) == (
        " (from sizes alone: --measure times it; less where early stopping ends a run)"
    )
    assert remarks(Expected({}, {}, {}, {}, may_stop=False)) == ""


def test_the_page(done: tuple[Path, Outcome, list[str]]) -> None:
    out, outcome, _ = done
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in ("Table 2, aligned", "Table 2, unaligned", "Table 3", "CARAT (2024, not in the",
                 "LDDU (2025, not in the",
                 "w/ LE, LC", "What cannot be compared", "51 of 4,659", "data:image/svg+xml",
                 "is not CMU-MOSEI", "The data are not the paper&#x27;s: its numbers are left out",
                 f"{ROWS} of {ROWS} runs", "from sizes alone"):  # fmt: skip
        assert text in page, text
    assert "What is missing" not in page
    assert "<script" not in page
    assert "Training and testing took" in outcome.out
    stored = json.loads((out / "reproduction.json").read_text())
    assert stored["missing"] == []
    (call,) = stored["calls"]
    assert set(call["taken"]) == {"table2-aligned", "table2-unaligned", "table3", "figure6"}
    assert len(call["runs"]["table3"]) == 12


def test_nothing_is_repeated(
    done: tuple[Path, Outcome, list[str]],
    aligned: Path,
    unaligned: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _, _ = done
    files = [*out.rglob("model.json"), *out.rglob("*.safetensors"), *out.rglob("*.svg"),
             *out.rglob("evaluation-test.json")]  # fmt: skip
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}
    assert len(list(out.rglob("model.json"))) == ROWS
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", None)
    monkeypatch.setattr(timing, "time_training", None)
    model = out / "table2-aligned" / "tailor" / "seed42" / "model"
    dead = kills.plant_dead(out, out / "figures", out / "table3", model)
    again = command(aligned, out, "--unaligned", unaligned)
    assert again.code == 0, again.err
    assert not any(left.exists() for left in dead)
    assert f"{ROWS} runs: {ROWS} done, 0 go on, 0 to do -> " in again.out
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files} == before
    assert len(json.loads((out / "reproduction.json").read_text())["calls"]) == 1


def test_published_numbers_beside_ours(done: tuple[Path, Outcome, list[str]]) -> None:
    found = read_benchmark(done[0] / "table2-aligned" / "benchmark.json")
    ours = found.systems["simm"].summary
    assert ours is not None
    mean = ours.overall["micro_f1"].mean
    systems = {
        name: system.model_copy(update={"published": TABLE_2["aligned"].get(name, {})})
        for name, system in found.systems.items()
    }
    table = _beside(found.model_copy(update={"systems": systems}))
    assert table.header == (
        ["system", "runs"] + [x for m in ("Acc", "P", "R", "micro-F1") for x in (m, "paper")]
        + ["micro-F1 - paper's"]
    )  # fmt: skip
    rows = {str(row[0]): row for row in table.rows}
    assert rows["SIMM"][3::2] == [".432", ".561", ".495", ".525"]
    assert float(str(rows["SIMM"][-1])) == pytest.approx(mean - 0.525, abs=1e-3)
    assert rows["CARAT (2024, not in the paper)"][3::2] == ["n/a"] * 4
    assert table.marked == [list(systems).index("tailor")]


def test_a_page_is_not_replaced_by_a_part_of_it(
    done: tuple[Path, Outcome, list[str]], aligned: Path
) -> None:
    before = (done[0] / "report.html").read_bytes()
    part = command(aligned, done[0])
    part.failed(3, "has Table 2, unaligned, too", "give the unaligned data with --unaligned")
    assert (done[0] / "report.html").read_bytes() == before
    of_it = run_cli("report", done[0])
    of_it.failed(5, "is a reproduction", str(done[0] / "report.html"), str(done[0] / "figure6"))


def test_a_truncated_index_of_figures_is_made_again(
    done: tuple[Path, Outcome, list[str]], aligned: Path, unaligned: Path
) -> None:
    index = done[0] / "figures" / "index.json"
    whole = index.read_bytes()
    index.write_bytes(whole[:60])
    again = command(aligned, done[0], "--unaligned", unaligned)
    assert again.code == 0, again.err
    assert json.loads(index.read_bytes())["written"] == json.loads(whole)["written"]


def test_what_ablations_cost_on_planted_data_is_on_the_page(
    done: tuple[Path, Outcome, list[str]],
) -> None:
    found = read_benchmark(done[0] / "table3" / "ablation.json")
    assert found.findings == []  # these data are not planted
    told = found.model_copy(update={"findings": ["1 of 1 do as planted."]})
    stored = read_reproduction(done[0])
    assert stored is not None
    assert _reading(told, stored.stages["table3"])[-1] == Text("1 of 1 do as planted.", "note")


# ---------------------------------------------------------------------- the plan


def test_the_plan_and_its_time_are_cached(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o"
    first = command(aligned, out, "--dry-run", "--measure", "--jobs", "1")
    assert first.code == 0, first.err
    assert "4 runs: 0 done, 0 go on, 4 to do; expected " in first.out
    assert "Table 3: 1 more of an earlier stage, trained once" in first.out
    assert "left out: Table 2, unaligned: no unaligned data set was given" in first.out
    assert sorted(x.name for x in out.iterdir()) == [".lock", "reproduction.json", "speed.json"]
    speeds = json.loads((out / "speed.json").read_text())
    entries = list(speeds["runs"].values())
    assert [entry["system"] for entry in entries] == ["br", "tailor", "tailor", "tailor"]
    assert all(entry["device"].endswith("(cpu)") for entry in entries)
    monkeypatch.setattr(timing, "time_training", None)  # nothing is timed twice
    plan = plan_paper(aligned, out, seeds=1, config_file=TINY, jobs=1)
    with held(out):  # one may look at the plan while another process works
        expected = expect(plan, Console(quiet=True))
    assert not expected.unknown
    one = [timing.Speed(**entry["speed"]).seconds + 0.25 for entry in entries]
    assert expected.training["table2-aligned"] == pytest.approx(one[0] + one[1])
    assert expected.training["table3"] == pytest.approx(one[2])
    tested = sum(entry["speed"]["sample"] for entry in entries[:2]) * 5
    assert expected.testing["table2-aligned"] == pytest.approx(tested)
    more = plan_paper(aligned, out, seeds=3, config_file=TINY, jobs=2)
    expected = expect(more, Console(quiet=True))
    assert expected.training["table2-aligned"] == pytest.approx(3 * (one[0] + one[1]) / 2)


def test_what_cannot_be_timed_is_said(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory\nmore")

    monkeypatch.setattr(timing, "time_training", broken)
    outcome = command(aligned, tmp_path / "o", "--dry-run", "--measure")
    assert outcome.code == 0
    assert "not in the time: Table 2, aligned, BR; Table 2, aligned" in outcome.out
    assert ": out of memory" in outcome.out


def test_a_dry_run_times_and_writes_nothing(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "time_training", None)
    monkeypatch.setattr(timing, "time_start", None)
    outcome = command(aligned, tmp_path / "o", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "4 runs: 0 done, 0 go on, 4 to do; very roughly " in outcome.out
    assert "not in the time: Table 2, aligned, BR: it is fitted at once" in outcome.out
    assert list(tmp_path.iterdir()) == []

    plan = plan_paper(aligned, tmp_path / "o", seeds=2, config_file=TINY, jobs=1)
    expected = expect(plan, Console(quiet=True))
    assert expected.is_rough
    # two trainings, and what two processes need to start
    one = expected.rows["table2-aligned"]["tailor"]
    assert expected.training["table2-aligned"] == pytest.approx(2 * one + 2 * START_SECONDS)


def test_unaligned_data_alone(unaligned: Path, tmp_path: Path) -> None:
    plan = plan_paper(unaligned, tmp_path / "o", seeds=1, config_file=TINY)
    assert [stage.name for stage in plan.stages] == ["table2-unaligned", "figure6"]
    assert "Table 2, aligned: the data are unaligned." in plan.left_out
    assert "Table 3: it is of aligned data." in plan.left_out
    assert not (tmp_path / "o").exists()


def test_wrong_data_and_folders(data: Path, aligned: Path, unaligned: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    with pytest.raises(ConfigError, match=rf"{data} is aligned"):
        plan_paper(aligned, out, unaligned=data)
    with pytest.raises(ConfigError, match=rf"{unaligned} is unaligned[\s\S]*word-aligned"):
        plan_paper(unaligned, out, unaligned=unaligned)
    splits = {name: random_samples(3, labels=2, prefix=name) for name in ("train", "valid", "test")}
    names = ("x", "y")
    write_dataset(
        tmp_path / "other", splits, name="other", label_names=names, dims=DIMS, aligned=False
    )
    with pytest.raises(DataError, match=r"has the labels x, y"):
        plan_paper(aligned, out, unaligned=tmp_path / "other")
    with pytest.raises(ConfigError, match="model for all systems"):
        plan_paper(aligned, out, settings=["model.dropout=0.1"])
    with pytest.raises(ConfigError, match=r"leave model\.label_decoder alone"):
        plan_paper(aligned, out, settings=["tailor:model.label_decoder=identical"])
    with pytest.raises(ConfigError, match=r"is no reproduction, and not empty"):
        plan_paper(aligned, tmp_path)
    assert not out.exists()


# ---------------------------------------------------------------------- failures and stops


def test_a_failure_loses_nothing_else(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, runner = tmp_path / "o", InProcess(fails=lambda job: job.name.startswith("identical"))
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", runner)
    outcome = command(aligned, out)
    assert outcome.code == 1
    assert "missing: Table 3: identical seed 42 failed, exit code 5: it had to fail" in outcome.out
    assert set(runner.ran) == {
        "table2-aligned/br/seed42", "table2-aligned/tailor/seed42", "table3/identical/seed42",
        "figure6/without_terms/seed42",
    }  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What is missing" in page
    assert "Table 3: identical seed 42 failed" in page
    assert (out / "figures" / "figure6-tsne.svg").exists()
    # the same command tries what failed, and nothing else
    runner = InProcess()
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", runner)
    assert command(aligned, out).code == 0
    assert runner.ran == ["table3/identical/seed42"]
    assert "What is missing" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_broken_figure_loses_no_table(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no room")

    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", InProcess())
    monkeypatch.setattr("emotailor.figures.make.make_figures", broken)
    with one_thread():
        outcome = reproduce_paper(aligned, tmp_path / "o", seeds=1, config_file=TINY, resamples=0)
    assert outcome.missing == ["Figures: ValueError: no room"]
    assert "w/ identical" in outcome.report.read_text(encoding="utf-8")


def test_a_kill_at_any_call_leaves_no_page_older_than_what_is_stored(tmp_path: Path) -> None:
    def content(device: str) -> StoredReproduction:
        return StoredReproduction(
            emotailor="", stages={}, options={}, device=device, left_out=[], missing=[], calls=[]
        )

    found = []
    for call in range(1, 100):
        out = tmp_path / str(call)
        write_reproduction(out, content("old"), "old")
        code = kills.run_and_die(lambda: write_reproduction(out, content("new"), "new"), call)  # noqa: B023
        stored = read_reproduction(out)
        assert stored is not None
        found.append(((out / "report.html").read_text(), stored.device))
        if code == 0:
            break
        write_reproduction(out, content("again"), "again")
        assert {path.name for path in out.iterdir()} == {"report.html", "reproduction.json"}
    assert found[-1] == ("new", "new")
    assert set(found) == {("old", "old"), ("new", "old"), ("new", "new")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"report\.html"):
            write_reproduction(out, content("lost"), "lost")
    assert (out / "report.html").read_text() == "new"


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_stop_and_what_follows(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "o", InProcess(stop_after=1)
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", before)
    stopped = command(aligned, out)
    assert stopped.code == 130
    assert "stopped after 1 of 2 runs" in stopped.err
    after = InProcess()
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", after)
    outcome = command(aligned, out)
    assert outcome.code == 0
    assert "4 runs: 1 done, 0 go on, 3 to do" in outcome.out
    assert len(after.ran) == 3
    assert not set(before.ran) & set(after.ran)


KILLED = """
import os, sys
from pathlib import Path
from emotailor import cli
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.paper import plan as paper_plan
from emotailor.comparison import processes
from emotailor.training import timing
from emotailor.training.run_folder import RunFolder
from emotailor.training.progress import Reporter
from emotailor.training.run import train
from emotailor.config import read_toml
from emotailor.training.run_config import RunConfig

class Killer(Reporter):
    def epoch(self, record, *, best):
        if record.epoch == 2:  # in the middle of a training
            os.kill(os.getpid(), 9)

def run_jobs(jobs, *, on_start, on_end, **_):
    for job in jobs:
        on_start(job)
        options = dict(x.lstrip("-").split("=", 1) for x in job.command if x.startswith("--"))
        config = RunConfig.parse(read_toml(Path(options["config"])))
        train(config, options["out"], Killer() if job.name.startswith("tailor") else Reporter())
        on_end(processes.Ended(job, 0, 0.1))

processes.run_jobs = run_jobs
timing.time_start = lambda: 0.25
paper_plan.SYSTEMS = ("br", "tailor")
paper_plan.ABLATIONS = {name: ABLATIONS[name] for name in ("identical", "full")}
sys.argv[0] = "emotailor"
cli.main()
"""


def test_a_kill_in_the_middle_of_a_training(
    aligned: Path, tmp_path: Path, two_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o"
    options = [
        "reproduce", "paper", "--data", str(aligned), "--out", str(out), "--seeds", "1",
        "--config", str(TINY), "--resamples", "0", "--set", "training.epochs=3",
        "--set", "training.checkpoint_steps=1",
    ]  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *options], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    model = out / "table2-aligned" / "br" / "seed42" / "model" / "model.json"
    before = model.stat().st_ino, model.stat().st_mtime_ns
    state = out / "table2-aligned" / "tailor" / "seed42" / "checkpoint" / "state.json"
    reached = json.loads(state.read_text())["progress"]["epoch"]
    assert reached >= 1
    monkeypatch.setattr("emotailor.comparison.processes.run_jobs", runner := InProcess())
    outcome = run_cli(*options, width=100)
    assert outcome.code == 0, outcome.out + outcome.err
    assert "4 runs: 1 done, 1 go on, 2 to do" in outcome.out
    assert runner.ran[0] == "table2-aligned/tailor/seed42"
    assert "table2-aligned/br/seed42" not in runner.ran
    assert (model.stat().st_ino, model.stat().st_mtime_ns) == before
    history = (state.parents[1] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2, 3]


@pytest.fixture
def busy(aligned: Path, tmp_path: Path, two_rows: None) -> Iterator[Reproduction]:
    """A plan one of whose runs goes on in a process that an earlier call left behind."""
    plan = plan_paper(aligned, tmp_path / "o", seeds=1, config_file=TINY)
    ready, end = threading.Event(), threading.Event()

    def hold() -> None:
        with RunFolder(tmp_path / "o" / "table2-aligned" / "br" / "seed42").held():
            ready.set()
            end.wait(1.0)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    yield plan
    end.set()
    thread.join()


def test_trainings_of_an_earlier_call_are_waited_for(
    busy: Reproduction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plans, "POLL_SECONDS", 0.01)
    plans.wait_for_others(busy.left, Console())
    assert "waiting for trainings of an earlier call" in capsys.readouterr().out
    assert not RunFolder(busy.out / "table2-aligned" / "br" / "seed42").is_held()


def test_two_calls_do_not_share_a_folder(aligned: Path, tmp_path: Path, two_rows: None) -> None:
    plan = plan_paper(aligned, tmp_path / "o", seeds=1, config_file=TINY)
    with (
        RunFolder(tmp_path / "o").held(),
        pytest.raises(ConfigError, match="another process works in"),
    ):
        run_paper(plan, Console(quiet=True))
    with RunFolder(tmp_path / "o").held():
        command(aligned, tmp_path / "o").failed(3, "another process works in")
        assert command(aligned, tmp_path / "o", "--dry-run").code == 0
        assert command(aligned, tmp_path / "o", "--dry-run", "--measure").code == 3


# ---------------------------------------------------------------------- the file

STORED = {
    "format": "emotailor-reproduction", "emotailor": "0.1", "stages": {}, "options": {},
    "device": "a cpu", "left_out": [], "missing": [], "calls": [],
}  # fmt: skip


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "reproduction.json"
    assert read_reproduction(tmp_path) is None
    file.write_text('{"format": "emotailor-reproduction"}')
    assert read_reproduction(tmp_path) is None
    file.write_text(json.dumps(STORED))
    found = read_reproduction(tmp_path)
    assert found is not None
    assert (found.version, found.device) == (1, "a cpu")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting"),
        ("[1]", "a list"),
        (json.dumps({**STORED, "format": "x"}), "format: "),
        (json.dumps(with_hash({**STORED, "version": VERSION + 1})), "version: "),
        (json.dumps({**STORED, "calls": [{"expected": {}}]}), "calls.0.taken: "),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "reproduction.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_reproduction(tmp_path)
    assert str(tmp_path / "reproduction.json") in caught.value.found
    assert why in caught.value.found


@pytest.mark.parametrize(
    "change",
    [
        {"start": 3},
        {"runs": []},
        {"start": {"here": "soon"}},
        {"runs": {"a": 1}},
        {"runs": {"a": {}}},
        {"runs": {"a": {"speed": {"setup": 1}}}},
    ],
)
def test_speeds_that_are_none_are_timed_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "speed.json"
    good = {"start": {"here": 1.5}, "runs": {"a": {"failed": "no memory"}}}
    write_json(file, good)
    assert _Speeds(file, Console()).known == good
    write_json(file, {**good, **change})
    assert _Speeds(file, Console()).known == {"start": {}, "runs": {}}
