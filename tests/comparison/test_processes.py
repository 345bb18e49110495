"""Commands in processes of their own: how many at once, how they fail, how they are stopped."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emotailor.comparison.processes import (
    Ended,
    Gpus,
    Job,
    failure_message,
    run_jobs,
    usable_gpus,
)
from emotailor.cores import usable_cores
from tests.helpers import have_gpus


def job(folder: Path, name: str, code: str) -> Job:
    return Job(name, [sys.executable, "-c", code], folder / "logs" / f"{name}.log")


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.most = 0
        self.ended: dict[str, Ended] = {}
        self.stopped: list[int] = []

    def start(self, job: Job) -> None:
        self.running.add(job.name)
        self.most = max(self.most, len(self.running))

    def end(self, ended: Ended) -> None:
        self.running.remove(ended.job.name)
        self.ended[ended.job.name] = ended

    def run(self, jobs: list[Job], at_once: int, **environment: str) -> int | None:
        return run_jobs(
            jobs,
            at_once=at_once,
            environment={**os.environ, **environment},
            on_start=self.start,
            on_end=self.end,
            on_stop=self.stopped.append,
        )


def test_some_at_a_time_with_the_environment_given(tmp_path: Path) -> None:
    seen = Listener()
    code = "import os; print(os.environ['SHARE'])"
    jobs = [job(tmp_path, str(i), code) for i in range(5)]
    assert seen.run(jobs, 2, SHARE="ü3") is None
    assert seen.most == 2
    assert {name: end.code for name, end in seen.ended.items()} == dict.fromkeys("01234", 0)
    assert all(end.message == "" and end.seconds > 0 for end in seen.ended.values())
    assert jobs[4].log.read_text().strip() in ("ü3", "\\udcc3\\udcbc3")
    assert seen.stopped == []


def test_a_failure_is_told_and_kept(tmp_path: Path) -> None:
    seen = Listener()
    bad = job(tmp_path, "bad", "import sys; print('error: no'); sys.exit(4)")
    ugly = job(tmp_path, "ugly", "raise ValueError('x')")
    seen.run([bad, ugly, job(tmp_path, "good", "pass")], 1)
    assert {n: e.code for n, e in seen.ended.items()} == {"bad": 4, "ugly": 1, "good": 0}
    assert seen.ended["bad"].message == "no"
    assert seen.ended["ugly"].message == "ValueError: x"
    bad.log.write_text("error: an old one\n")
    seen = Listener()
    seen.run([job(tmp_path, "bad", "raise SystemExit(3)")], 1)
    assert seen.ended["bad"].message == "it said nothing"  # what was there before is not its own
    assert bad.log.read_text() == "error: an old one\n"


@pytest.mark.parametrize(
    ("output", "code", "expected"),
    [
        ("", 1, "it said nothing"),
        ("a\nb\n\n", 1, "b"),
        ("error: x\n  expected: y\nlast words\n", 3, "x\n  expected: y"),
        ("error: x\nerror: y\n", 3, "y"),
        ("no error: x\n", 3, "no error: x"),
        ("error: x", -9, "killed by SIGKILL (out of memory?)"),
        ("error: x", -11, "killed by SIGSEGV"),
        ("", -250, "killed by signal 250"),
    ],
)
def test_messages(output: str, code: int, expected: str) -> None:
    assert failure_message(output, code) == expected


class Stopper(Listener):
    """Sends this process signals once the jobs run."""

    def __init__(self, count: int, folder: Path, signals: list[signal.Signals]) -> None:
        super().__init__()
        self.count, self.folder, self.signals = count, folder, signals

    def start(self, job: Job) -> None:
        super().start(job)
        if len(self.running) == self.count:
            deadline = time.monotonic() + 60
            while len(list(self.folder.glob("ready*"))) < self.count:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(os.getpid(), self.signals.pop(0))


def child(tmp_path: Path, name: str, on_signal: str) -> Job:
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, {on_signal})\n"
        f"pathlib.Path({str(tmp_path)!r}, 'ready{name}').touch()\n"
        "time.sleep(60)\n"
    )
    return job(tmp_path, name, code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_waits_for_them(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    saving = f"lambda *_: (pathlib.Path({str(tmp_path)!r}, 'saved').touch(), sys.exit(130))"
    seen = Stopper(2, tmp_path, [number])
    jobs = [child(tmp_path, "0", saving), child(tmp_path, "1", "signal.SIG_DFL")]
    started = time.monotonic()
    assert seen.run([*jobs, job(tmp_path, "never", "pass")], 2) == number
    assert time.monotonic() - started < 50
    assert (tmp_path / "saved").exists()
    assert seen.stopped == [2]
    assert seen.ended == {}  # asked to stop is not failed
    assert not (tmp_path / "logs" / "never.log").exists()
    assert signal.getsignal(number) is before


def test_a_second_signal_kills(tmp_path: Path) -> None:
    seen = Stopper(1, tmp_path, [signal.SIGINT])
    seen.stopped = Again()
    started = time.monotonic()
    assert seen.run([child(tmp_path, "0", "signal.SIG_IGN")], 1) == signal.SIGINT
    assert time.monotonic() - started < 50
    assert seen.stopped == [1]


class Again(list[int]):
    """Sends the second signal when it hears of the first."""

    def append(self, value: int) -> None:
        super().append(value)
        os.kill(os.getpid(), signal.SIGINT)


def test_nothing_goes_on_after_an_error(tmp_path: Path) -> None:
    """As when whoever reads the output has gone."""

    def gone(*_: Any) -> None:
        raise BrokenPipeError

    seen = Listener()
    with pytest.raises(BrokenPipeError):
        run_jobs(
            [job(tmp_path, "0", "import time; time.sleep(60)")],
            at_once=1,
            environment=os.environ,
            on_start=gone,
            on_end=seen.end,
            on_stop=seen.stopped.append,
        )
    assert usable_cores() >= 1


# ---------------------------------------------------------------------- GPUs

SAY = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"


class OnGpus(Listener):
    """Runs jobs on GPUs that nobody has, and keeps which GPU was left for which."""

    def __init__(self, *gpus: str) -> None:
        super().__init__()
        self.gpus = gpus
        self.moved: list[tuple[str, str]] = []

    def move(self, ended: Ended, gpu: str) -> None:
        self.running.remove(ended.job.name)
        self.moved.append((ended.job.name, gpu))

    def run(self, jobs: list[Job], at_once: int, **environment: str) -> int | None:
        return run_jobs(
            jobs,
            at_once=at_once,
            environment={**os.environ, **environment},
            on_start=self.start,
            on_end=self.end,
            on_stop=self.stopped.append,
            gpus=self.gpus,
            on_move=self.move,
        )


def on_gpu(folder: Path, name: str, code: str) -> Job:
    return Job(name, [sys.executable, "-c", code], folder / f"{name}.log", "gpu")


def said(jobs: list[Job]) -> list[str]:
    return [job.log.read_text().splitlines()[-1] for job in jobs]


def waits_for_all(folder: Path, count: int) -> str:
    """Code that says its GPU and ends when ``count`` of its kind have started."""
    return (
        f"{SAY}; import pathlib, sys, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "(folder / f'{os.getpid()}.here').touch()\n"
        f"while len(list(folder.glob('*.here'))) < {count}: time.sleep(0.01)\n"
    )


def test_runs_side_by_side_share_the_gpus(tmp_path: Path) -> None:
    seen = OnGpus("2", "5")
    jobs = [on_gpu(tmp_path, str(i), waits_for_all(tmp_path, 4)) for i in range(4)]
    assert seen.run(jobs, 4, CUDA_VISIBLE_DEVICES="2,5") is None
    assert said(jobs) == ["2", "5", "2", "5"]
    assert seen.most == 4


def test_a_run_gets_the_gpu_that_has_become_free(tmp_path: Path) -> None:
    long = on_gpu(tmp_path, "long", waits_for_all(tmp_path, 4))
    short = [on_gpu(tmp_path, f"short{i}", waits_for_all(tmp_path, 0)) for i in range(3)]
    OnGpus("MIG-a", "MIG-b").run([long, *short], 2)
    assert said([long, *short]) == ["MIG-a", "MIG-b", "MIG-b", "MIG-b"]


def test_runs_on_the_cpu_see_no_gpu_and_others_what_was_given(tmp_path: Path) -> None:
    jobs = [
        Job("cpu", [sys.executable, "-c", SAY], tmp_path / "cpu.log", "cpu"),
        Job("given", [sys.executable, "-c", SAY], tmp_path / "given.log"),
    ]
    OnGpus("0", "1").run(jobs, 2, CUDA_VISIBLE_DEVICES="0,1")
    assert said(jobs) == ["", "0,1"]


LOST = "error: device 'cuda' cannot be used: this machine has no CUDA device that torch can use"


def test_a_gpu_that_does_not_start_does_not_block_the_others(tmp_path: Path) -> None:
    seen = OnGpus("0", "1")
    code = f"{SAY}; import sys\nif os.environ['CUDA_VISIBLE_DEVICES'] == '0': sys.exit({LOST!r})"
    jobs = [on_gpu(tmp_path, str(i), code) for i in range(5)]
    assert seen.run(jobs, 2) is None
    assert seen.moved == [("0", "0")]
    assert {name: end.code for name, end in seen.ended.items()} == dict.fromkeys("01234", 0)
    assert said(jobs) == ["1"] * 5
    assert seen.most == 2  # one on each, and then one after the other


def test_the_last_gpu_stays_and_a_failure_of_the_run_itself_moves_nothing(tmp_path: Path) -> None:
    seen = OnGpus("0", "1")
    lost = [on_gpu(tmp_path, f"lost{i}", f"import sys; sys.exit({LOST!r})") for i in range(2)]
    bug = on_gpu(tmp_path, "bug", "raise ValueError('CUDA error: device-side assert triggered')")
    assert seen.run([bug, *lost], 1) is None
    assert len(seen.moved) == 1
    assert {name: end.code for name, end in seen.ended.items()} == {
        "bug": 1,
        "lost0": 1,
        "lost1": 1,
    }


def test_more_runs_than_gpus_are_spread_evenly() -> None:
    gpus = Gpus(["a", "b", "c"], at_once=4)
    assert [gpus.take() for _ in range(4)] == ["a", "b", "c", "a"]
    assert not gpus.full  # two on each
    gpus.give_back("b")
    assert gpus.take() == "b"
    assert gpus.set_aside("a")
    assert [gpus.take(), gpus.take(), gpus.full] == ["b", "c", True]


@pytest.mark.parametrize(
    ("chosen", "count", "expected"),
    [
        (None, 3, ("0", "1", "2")),
        ("2,5", 2, ("2", "5")),
        ("5, 2,-1,3", 2, ("5", "2")),
        ("GPU-8932f937,GPU-5f2c", 2, ("GPU-8932f937", "GPU-5f2c")),
        ("MIG-1a,MIG-2b,MIG-3c", 1, ("MIG-1a", "MIG-2b", "MIG-3c")),
        ("", 0, ()),
    ],
)
def test_usable_gpus(
    chosen: str | None, count: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    have_gpus(monkeypatch, count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert usable_gpus() == expected
