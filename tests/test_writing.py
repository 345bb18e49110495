"""Commands on a machine that lacks something, and two commands on one folder."""

import ast
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import emotailor
from emotailor.data.store import open_dataset
from emotailor.data.validate import validate_dataset
from emotailor.errors import DataError
from emotailor.figures import drawing, make
from emotailor.figures.store import FigureFolder
from emotailor.files import is_temporary, replacing_folder
from emotailor.folders import held
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import Run
from tests import kills
from tests.data.readers import sources
from tests.helpers import descriptors, small_dataset
from tests.runs.runs import TOML, Outcome, run_cli, train_tiny

LOSSES = "figure4-losses"
SVG = b'<svg width="9pt" height="9pt" viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg"/>'

ROOT = Path(emotailor.__file__).parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    small_dataset(home / "data")
    (home / "tiny.toml").write_text(TOML)
    train_tiny(home / "data", home / "run", epochs=1)
    # a report of what is stored computes nothing
    evaluate_run(home / "run", data=home / "data", resamples=10, device="cpu")
    return home


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with data and a run, where commands name what is there."""
    shutil.copytree(home, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    # how figures look and what they show takes seconds, and is tested elsewhere
    monkeypatch.setattr(make, "FIGURES", {LOSSES: make.FIGURES[LOSSES]})
    monkeypatch.setattr(make, "check_claims", lambda *_, **__: [])
    monkeypatch.setattr(drawing, "render", lambda *_: SVG)
    return tmp_path / "place"


COMMANDS = {
    "synthesize": "data synthesize -o made --set train=20 --set valid=6 --set test=6",
    "synthesize again": "data synthesize -o data --overwrite"
    " --set train=20 --set valid=6 --set test=6",
    "train": "train -d data -o new --config tiny.toml --set training.epochs=1",
    "evaluate": "evaluate run --data data --resamples 10",
    "new": "models new my_model -o own",
}
"""What is written by each."""

OUTPUT = {"synthesize": "made", "synthesize again": "data", "train": "new", "evaluate": "run"}


def call(command: str) -> Outcome:
    return run_cli(*command.split())


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_temporary(path.name)]


# ---------------------------------------------------------------------- what is lacking


@contextmanager
def failing_at(number: int, code: int) -> Iterator[list[int]]:
    """Let the n-th flush to the disk, and all after it, fail as a full disk does."""
    sync = os.fsync
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) >= number:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield calls


@pytest.mark.parametrize("name", OUTPUT)
def test_a_disk_that_is_full_from_any_write_on(place: Path, name: str) -> None:
    """One message that names what the user gave; then the same command works."""
    for number in (1, 2, 5, 14):
        with failing_at(number, errno.ENOSPC) as calls:
            done = call(COMMANDS[name])
        if len(calls) < number:
            break

        assert done.code == 1
        assert done.err.startswith("error: No space left on device: ")
        assert OUTPUT[name] in done.err.splitlines()[0]
        assert " MB are free)" in done.err
        assert ".tmp" not in done.err
        assert temporaries(place) == []
        if name == "synthesize":
            assert not (place / "made").exists()
        else:
            assert call("data validate data").code == 0
        if name == "evaluate":  # the numbers are not lost
            assert "micro-F1" in done.out
    assert number > 2
    assert call(COMMANDS[name]).code == 0
    assert temporaries(place) == []


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOMEM, "ulimit -v"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "check the disk"),
        (errno.EROFS, "name a place that can be written to"),
    ],
)
def test_every_lack_has_its_remedy(place: Path, code: int, fix: str) -> None:
    with failing_at(2, code):
        done = call(COMMANDS["synthesize"])
    assert done.code == 1
    assert f"error: {os.strerror(code)}: made" in done.err
    assert fix in done.err
    assert not (place / "made").exists()
    assert temporaries(place) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_numbers_are_printed_where_nothing_may_be_written(place: Path, code: int) -> None:
    before = {path.name for path in (place / "run").iterdir()}
    with failing_at(1, code):
        done = call(COMMANDS["evaluate"])
    assert done.code == 0
    assert "micro-F1" in done.out
    assert f"nothing is stored in run: {os.strerror(code)}" in " ".join(done.out.split())
    assert {path.name for path in (place / "run").iterdir()} == before


def test_too_few_file_descriptors(place: Path) -> None:
    call(COMMANDS["evaluate"])  # everything is imported
    for free in range(4):
        with descriptors(free):
            done = call(COMMANDS["synthesize"])
        if done.code == 0:
            break
        assert done.code != 0
        assert temporaries(place) == []
        if (place / "made").exists():  # whole: it is the look at it that failed
            assert call("data validate made").code == 0
            break
        done.failed(1, os.strerror(errno.EMFILE), "ulimit -n")
    assert free > 0
    shutil.rmtree(place / "made", ignore_errors=True)
    assert call(COMMANDS["synthesize"]).code == 0


def test_a_run_folder_that_vanishes_is_one_error(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.training import checkpoint

    save = checkpoint.save_finished

    def removed(folder: Path, *arguments: object) -> None:
        shutil.rmtree(folder.parent)
        save(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("emotailor.training.loop.save_finished", removed)
    call(COMMANDS["train"]).failed(3, str(place / "new"), "was removed or replaced")
    assert not (place / "new").exists()


# ---------------------------------------------------------------------- kills

CONVERT = "data convert samples.csv -o data --overwrite"
REPORT = "report run --data data"


def whole_data(place: Path) -> object:
    """Return which data set is there; it must be whole."""
    card = open_dataset(place / "data").card
    assert [p for p in validate_dataset(place / "data") if p.severity == "error"] == []
    return card.fingerprint


def whole_report(place: Path) -> object:
    """Return what of a report is there; each part must be whole."""
    run, figures = Run.open(place / "run"), FigureFolder(place / "run" / "figures")
    stored = run.evaluation() is not None and run.stored_results() is not None
    assert stored == (run.evaluation() is not None)
    try:
        drawn = figures.is_whole(figures.read_index())
        assert drawn
    except DataError:
        drawn = False
    return stored, drawn


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
@pytest.mark.parametrize(
    ("command", "whole", "killed_at"),
    [(CONVERT, whole_data, (0, 0.3, 0.6, 0.9)), (REPORT, whole_report, (0.5,))],
)
def test_a_kill_of_a_command_that_replaces_much(
    command: str, whole: Callable[[Path], object], killed_at: Sequence[float], place: Path
) -> None:
    """At some calls: all is whole, and the same command ends as one that nobody killed."""
    sources.table(place)
    for file in (place / "run").glob("*-test.*"):
        file.unlink()
    start = place.parent / "start"
    shutil.copytree(place, start)
    calls: list[str] = []  # the first time, modules are read, too
    with kills.counted(lambda number, name: calls.append(name)):
        assert call(command).code == 0
    expected = content(place)
    before, after = whole(start), whole(place)

    found = set()
    for part in killed_at:
        shutil.rmtree(place)
        shutil.copytree(start, place)
        os.chdir(place)
        at = 1 + int(part * len(calls))
        assert kills.run_and_die(lambda: call(command), at) == kills.KILLED
        found.add(whole(place))
        assert call(command).code == 0
        assert content(place) == expected
    assert before != after
    assert found - {after}  # some were killed before the end


# ---------------------------------------------------------------------- two commands


def training(folder: str) -> AbstractContextManager[object]:
    return held(Path(folder))


def converting(folder: str) -> AbstractContextManager[object]:
    return replacing_folder(Path(folder), index="dataset.json", overwrite=True)


def making_figures(folder: str) -> AbstractContextManager[object]:
    return FigureFolder(Path(folder)).replacing()


BENCHMARK = "benchmark -d data -o table --models br --seeds 1 --resamples 10"
REPRODUCE = "reproduce paper -d data -o paper --seeds 1"

PAIRS: list[tuple[Callable[[str], AbstractContextManager[object]], str, str, int]] = [
    # what is under way, where, and what is started then, with its exit code
    (training, "new", COMMANDS["train"], 3),
    (training, "run", COMMANDS["evaluate"], 0),
    (training, "run", "report run --data data", 0),
    (training, "run", "predict run data --limit 1", 0),
    (training, "table", BENCHMARK, 3),
    (training, "paper", REPRODUCE, 3),
    (training, "table", "train -d data -o table/tailor --config tiny.toml", 0),
    (converting, "made", COMMANDS["synthesize"], 3),
    (converting, "data", COMMANDS["synthesize again"], 3),
    (converting, "data", COMMANDS["train"], 0),
    (converting, "data", COMMANDS["evaluate"], 0),
    (making_figures, "run/figures", "figures run --data data", 3),
    (making_figures, "run/figures", "report run --data data", 0),
    (making_figures, "run/figures", COMMANDS["evaluate"], 0),
]


class StoppedError(Exception):
    """Ends what is under way."""


@pytest.mark.parametrize(("work", "folder", "command", "code"), PAIRS)
def test_two_commands_on_one_folder(
    work: Callable[[str], AbstractContextManager[object]],
    folder: str,
    command: str,
    code: int,
    place: Path,
) -> None:
    with pytest.raises(StoppedError), work(folder):
        done = call(command)
        raise StoppedError
    assert done.code == code, done.out + done.err
    if code:
        done.failed(code, "another process", folder)
    assert call("data validate data").code == 0
    assert temporaries(place) == []


# ---------------------------------------------------------------------- one way to write

WRITING = {
    "write_text", "write_bytes", "touch", "mkdir", "makedirs", "unlink", "rename", "rmdir",
    "savefig", "save_file", "savez", "tofile", "rmtree", "copyfile", "copytree", "truncate",
    "symlink_to", "hardlink_to", "TemporaryDirectory",
}  # fmt: skip
"""Functions that change the disk."""

PERMITTED = {
    # into a temporary path of files.py, or into memory
    ("data/store.py", "save_file"),
    ("training/model_folder.py", "save_file"),
    ("encoders/samples.py", "save_file"),
    ("figures/store.py", "write_bytes"),
    ("runs/outputs.py", "open"),
    ("extraction/stored.py", "save_file"),
    ("extraction/face_model.py", "write_bytes"),
    ("commands/videos.py", "open"),
    ("report/timelines.py", "open"),
    ("report/timelines.py", "write_text"),
    # into a folder that is removed with its process
    ("service/uploads.py", "open"),
    ("figures/drawing.py", "savefig"),
    ("export/write.py", "write_bytes"),
    # nothing of it stays
    ("report/figures.py", "TemporaryDirectory"),
    ("export/int8.py", "TemporaryDirectory"),
    ("testing.py", "TemporaryDirectory"),
    # a log, to which the system appends what a process prints
    ("comparison/processes.py", "mkdir"),
    ("comparison/processes.py", "open"),
}


def writing_calls(file: Path) -> Iterator[str]:
    """Yield the names of the functions that a module calls and that change the disk."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        is_method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Name):
            name = node.func.id

        given = [*node.args, *(key.value for key in node.keywords if key.arg == "mode")]
        modes = [str(part.value) for part in given if isinstance(part, ast.Constant)]
        opens_to_write = name == "open" and any(set("wax+") & set(mode) for mode in modes)
        replaces = name == "replace" and is_method and len(node.args) == 1 and not node.keywords
        is_writing = name in WRITING and (is_method or name == "save_file")
        if opens_to_write or replaces or is_writing:
            yield name


def test_everything_is_written_in_one_way() -> None:
    found = set()
    for file in ROOT.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if name != "files.py":
            found |= {(name, call) for call in writing_calls(file)}
    assert found == PERMITTED
