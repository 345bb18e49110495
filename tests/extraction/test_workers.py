"""Processes that extract: results, failures, deaths, and that none stays behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emotailor.errors import DataError, TooLongError
from emotailor.extraction.workers import Done, Workers
from tests.extraction.tasks import never_end, own_process, square_or_fail


def ended(tasks: list[int], processes: int) -> dict[int, Done[int, int]]:
    with Workers(square_or_fail, tasks, processes=processes) as workers:
        return {done.task: done for done in workers.ended()}


def test_all_tasks_are_carried_out_by_fewer_processes() -> None:
    done = ended([2, 3, 5, 7, 11], 2)
    assert {task: one.result for task, one in done.items()} == {2: 4, 3: 9, 5: 25, 7: 49, 11: 121}
    assert all(one.error is None for one in done.values())


def test_what_is_done_is_told_in_parts() -> None:
    told: list[float] = []
    with Workers(square_or_fail, [3, -1], processes=1, on_share=told.append) as workers:
        assert len(list(workers.ended())) == 2
    assert told == [0.25, 0.75, 1.0, 2.0]


def test_a_failure_comes_back_whole_and_the_others_go_on() -> None:
    done = ended([-1, 4, -3], 1)
    assert done[4].result == 16

    first = done[-1].error
    assert type(first) is DataError
    assert (first.found, first.expected, first.fix) == (
        "minus one",
        "a number from 0 on",
        "add two",
    )
    assert str(first) == str(DataError(first.found, expected=first.expected, fix=first.fix))

    second = done[-3].error
    assert isinstance(second, TooLongError)
    assert second.most == 2


def test_what_the_system_refuses_fails_one_task() -> None:
    done = ended([-5, 3], 1)
    assert done[3].result == 9
    refused = done[-5].error
    assert isinstance(refused, DataError)
    assert refused.found.startswith("No space left on device: /somewhere/tmp (")
    assert refused.found.endswith(" MB are free)")
    assert refused.fix is not None and "TMPDIR" in refused.fix


def test_a_process_ends_with_the_last_task_that_it_can_get() -> None:
    """Whoever goes on with the results has its memory."""
    with Workers(own_process, [1, 2], processes=1) as workers:
        ends = workers.ended()
        first = next(ends).result
        assert first is not None
        assert alive(first)
        assert next(ends).result == first
        wait_until(lambda: not alive(first))
        assert list(ends) == []


def test_a_process_that_dies_loses_its_task_alone() -> None:
    done = ended([-2, 3, -2, 6], 1)
    # two tasks are equal: both died, and the others did not
    assert done[3].result == 9
    assert done[6].result == 36
    assert isinstance(done[-2].error, DataError)
    assert "SIGKILL" in str(done[-2].error)


@pytest.mark.parametrize("task", [-4, -6])
def test_a_mistake_of_ours_is_not_blamed_on_the_task(task: int) -> None:
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        ended([task], 1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(true: object) -> None:
    end = time.monotonic() + 60
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_who_leaves_early_leaves_no_process_behind(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    with Workers(never_end, [str(marker)], processes=1) as workers:
        workers.begin()
        wait_until(lambda: marker.exists() and marker.read_text())
    assert not alive(int(marker.read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_process_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = (
        "from emotailor.extraction.workers import Workers\n"
        "from tests.extraction.tasks import never_end\n"
        "if __name__ == '__main__':\n"
        f"    with Workers(never_end, [{str(marker)!r}], processes=1) as workers:\n"
        "        list(workers.ended())\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    wait_until(lambda: marker.exists() and marker.read_text())

    parent.kill()
    parent.wait()
    child = int(marker.read_text())
    wait_until(lambda: not alive(child))
