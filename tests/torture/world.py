"""A small world of data sets, runs and comparisons, and every command that writes into it.

The world is built once. A trial gets a copy of the parts that its command needs.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.torture.calls import Count, Kill
from tests.torture.children import Ended, command, fork
from tests.torture.trees import Tree, clear, read_tree

EXAMPLES = Path(__file__).parents[2] / "examples"

SETTINGS = """\
[model]
hidden_size = 4
feedforward_size = 5
heads = 2
visual_layers = 1
audio_layers = 1
text_layers = 1
cross_layers = 1
max_steps = 13
initial_std = 0.2

[training]
epochs = 2
batch_size = 6
learning_rate = 3e-3
device = "cpu"
seed = 5
checkpoint_steps = 1
"""

SYSTEMS = EXAMPLES / "tiny.toml"


@dataclass(frozen=True)
class Task:
    """A command that writes.

    Attributes:
        name: for the reader.
        arguments: of the command line.
        needs: parts of the world that it reads or writes.
        writes: the parts among them that it may change, and what it creates.
        replaces: whether what lies in ``writes`` is replaced as a whole: then the old or the new
            one must be there at any time.
        resumes: whether it goes on where an earlier call stopped.
        inside: folders of the task in which things of others may lie.
        weight: how often it is tried, beside the others: those that take seconds once.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    writes: tuple[str, ...]
    replaces: bool = False
    resumes: bool = False
    inside: tuple[str, ...] = ()
    weight: int = 3

    def may_change(self, path: str) -> bool:
        """Return whether the task may change a path."""
        return any(path == top or path.startswith(f"{top}/") for top in self.writes)


def _split(line: str) -> tuple[str, ...]:
    return tuple(line.split())


_BENCHMARK = "--seeds 1 --config systems.toml --resamples 20 --jobs 1"

TASKS: tuple[Task, ...] = (
    Task("convert", _split("data convert source/samples.csv -o new"), ("source",), ("new",)),
    Task(
        "convert --overwrite",
        _split("data convert source/samples.csv -o old --overwrite"),
        ("source", "old"),
        ("old",),
        replaces=True,
    ),
    Task(
        "synthesize",
        _split("data synthesize -o new --set train=5 --set valid=3 --set test=2"),
        (),
        ("new",),
    ),
    Task(
        "synthesize --overwrite",
        _split("data synthesize -o old --set train=5 --set valid=3 --set test=2 --overwrite"),
        ("old",),
        ("old",),
        replaces=True,
    ),
    Task(
        "train",
        _split("train -d data -o new -c tiny.toml"),
        ("data", "tiny.toml"),
        ("new",),
        resumes=True,
        weight=1,
    ),
    Task(
        "train (resumed)",
        _split("train -d data -o half -c tiny.toml"),
        ("data", "tiny.toml", "half"),
        ("half",),
        resumes=True,
        inside=("half",),
        weight=1,
    ),
    Task(
        "train br",
        _split("train -d data -o new --model br --seed 5 --device cpu"),
        ("data",),
        ("new",),
        resumes=True,
    ),
    Task("evaluate", _split("evaluate run --resamples 20"), ("data", "run"), ("run",),
         inside=("run",)),
    Task("figures", _split("figures run"), ("data", "run"), ("run",), inside=("run",), weight=1),
    Task("report", _split("report run"), ("data", "run"), ("run",), inside=("run",), weight=1),
    Task(
        "figures (again)",
        _split("figures shown --split valid"),
        ("data", "shown"),
        ("shown",),
        inside=("shown",),
        weight=1,
    ),
    Task("report table", _split("report table"), ("data", "table"), ("table",), inside=("table",)),
    Task(
        "import-checkpoint",
        _split("import-checkpoint authors.bin -o new --heads 2"),
        ("authors.bin",),
        ("new",),
    ),
    Task(
        "import-checkpoint --overwrite",
        _split("import-checkpoint authors.bin -o imported --heads 2 --overwrite"),
        ("authors.bin", "imported"),
        ("imported",),
        replaces=True,
    ),
    Task(
        "benchmark",
        _split(f"benchmark -d data -o new --models br,tailor {_BENCHMARK}"),
        ("data", "systems.toml"),
        ("new",),
        resumes=True,
        weight=1,
    ),
    Task(
        "benchmark (resumed)",
        _split(f"benchmark -d data -o begun --models br,tailor {_BENCHMARK}"),
        ("data", "systems.toml", "begun"),
        ("begun",),
        resumes=True,
        inside=("begun",),
        weight=1,
    ),
    Task(
        "ablate",
        _split(
            "ablate -d data -o new --variants without_amr --seeds 1 --seed 5 --config one.toml "
            "--resamples 20 --jobs 1"
        ),
        ("data", "one.toml"),
        ("new",),
        resumes=True,
        weight=1,
    ),
    Task(
        "reproduce paper",
        _split(f"reproduce paper -d data -o paper {_BENCHMARK}"),
        ("data", "systems.toml", "paper"),
        ("paper",),
        resumes=True,
        inside=("paper",),
        weight=1,
    ),
    Task("models new", _split("models new my_model -o new"), (), ("new",)),
)  # fmt: skip
"""Every command that writes, by what it finds there."""

BY_NAME = {task.name: task for task in TASKS}


class World:
    """The parts, and the folder in which trials are made.

    Args:
        folder: an empty folder, best in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.parts = folder / "parts"
        self.work = folder / "work"
        self.log = folder / "log"
        self.parts.mkdir(parents=True)
        self._build: dict[str, Callable[[], None]] = {
            "tiny.toml": lambda: self._text("tiny.toml", SETTINGS),
            "one.toml": lambda: self._text("one.toml", SETTINGS.replace("seed = 5\n", "")),
            "systems.toml": lambda: self._text("systems.toml", SYSTEMS.read_text()),
            "source": self._source,
            "data": lambda: self._dataset("data", 12, 7, 5),
            "old": lambda: self._dataset("old", 5, 3, 2),
            "run": lambda: self._made("run", "data tiny.toml", "train -d data -o run -c tiny.toml"),
            "half": lambda: self._stopped("half", "train (resumed)", 0.6),
            "shown": self._shown,
            "table": self._table,
            "begun": lambda: self._stopped("begun", "benchmark (resumed)", 0.7),
            "paper": self._paper,
            "synthetic": lambda: self._made(
                "synthetic",
                "",
                "data synthesize -o synthetic --set train=12 --set valid=7 --set test=5",
            ),
            "planted": lambda: self._made(
                "planted", "synthetic long.toml", "train -d synthetic -o planted -c long.toml"
            ),
            "long.toml": lambda: self._text("long.toml", SETTINGS.replace("= 13", "= 60")),
            "authors.bin": self._authors,
            "imported": lambda: self._made(
                "imported", "authors.bin", "import-checkpoint authors.bin -o imported --heads 2"
            ),
        }

    def need(self, name: str) -> Path:
        """Return a part of the world; it is built where it is not yet there."""
        part = self.parts / name
        if not part.exists():
            self._build[name]()
        return part

    def prepare(self, needs: tuple[str, ...]) -> None:
        """Lay the working folder out anew with some parts of the world."""
        for name in needs:
            self.need(name)

        clear(self.work)
        self.work.mkdir()
        for name in needs:
            part = self.parts / name
            if part.is_dir():
                shutil.copytree(part, self.work / name)
            else:
                shutil.copy2(part, self.work / name)

    def run(self, line: str) -> Ended:
        """Run a command in the working folder."""
        return command(_split(line), self.work, self.log)

    def _text(self, name: str, text: str) -> None:
        (self.parts / name).write_text(text, encoding="utf-8")

    def _in_child(self, work: Callable[[], object]) -> None:
        """Do some work that may leave threads or random states behind."""
        ended = fork(work, self.parts, self.log)
        assert ended.code == 0, ended.err

    def _source(self) -> None:
        from tests.data.readers.sources import table

        folder = self.parts / "source"
        folder.mkdir()
        table(folder)

    def _dataset(self, name: str, train: int, valid: int, test: int) -> None:
        from tests.helpers import small_dataset

        self._in_child(
            lambda: small_dataset(self.parts / name, train=train, valid=valid, test=test)
        )

    def _made(self, name: str, needs: str, *lines: str) -> None:
        """Make a part by commands."""
        self.prepare(_split(needs))
        for line in lines:
            ended = self.run(line)
            assert ended.code == 0, (line, ended)
        self._keep(name)

    def _keep(self, name: str) -> None:
        """Take a folder of the working folder over as a part."""
        shutil.copytree(self.work / name, self.parts / name)

    def _stopped(self, name: str, task_name: str, share: float) -> None:
        """Make a part by a command that is killed on its way."""
        task = BY_NAME[task_name]
        needs = tuple(part for part in task.needs if part != name)
        calls = self.count(task.arguments, needs)

        self.prepare(needs)
        at = int(share * calls)
        ended = command(task.arguments, self.work, self.log, watcher=Kill(at, "before"))
        assert ended.killed, ended
        self._keep(name)

    def count(self, arguments: tuple[str, ...], needs: tuple[str, ...]) -> int:
        """Return how many calls a command makes that change something."""
        self.prepare(needs)
        calls = self.parts.parent / "calls"

        def work() -> None:
            from tests.torture.calls import watch
            from tests.torture.children import emotailor

            counting = Count()
            watch(self.work, counting)
            try:
                emotailor(arguments)
            finally:
                calls.write_text(str(len(counting.calls)))

        ended = fork(work, self.work, self.log)
        assert ended.code == 0, ended
        return int(calls.read_text())

    def _shown(self) -> None:
        run = "train -d data -o shown -c tiny.toml"
        shown = ("evaluate shown", "figures shown", "report shown")
        self._made("shown", "data tiny.toml", run, *shown)

    def _table(self) -> None:
        line = " ".join(BY_NAME["benchmark"].arguments).replace("-o new", "-o table")
        self._made("table", "data systems.toml", line)

    def _paper(self) -> None:
        """A reproduction of which a training, a table, the figures and the page are gone."""
        self.prepare(("data", "systems.toml"))
        ended = self.run(" ".join(BY_NAME["reproduce paper"].arguments))
        assert ended.code in {0, 1}, ended

        paper = self.work / "paper"
        gone = ("report.html", "figures", "figure6/ablation.json", "table3/ablation.json")
        for name in gone:
            place = paper / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()
        self._keep("paper")

    def _authors(self) -> None:
        """A checkpoint with the names of the authors' program."""
        self._in_child(lambda: write_authors(self.parts / "authors.bin"))


def write_authors(file: Path) -> None:
    """Write random parameters of a small TAILOR under the names of the authors' program."""
    import torch

    from emotailor.models.factory import build_model
    from emotailor.models.tailor.checkpoint import LABELS, entries
    from emotailor.models.tailor.config import TailorConfig
    from tests.helpers import DIMS

    sizes = {"hidden_size": 4, "feedforward_size": 5, "heads": 2, "max_steps": 3}
    layers = {f"{name}_layers": 1 for name in ("visual", "audio", "text", "cross", "decoder")}
    config = TailorConfig.authors().replace(**sizes, **layers)
    torch.manual_seed(0)
    model = build_model("tailor", config, DIMS, len(LABELS))
    ours = model.state_dict()

    theirs = {}
    for entry in entries(config):
        tensor = ours[entry.ours]
        rows = len(tensor) // len(entry.theirs)
        sizes_of = dict.fromkeys(entry.theirs, rows)
        theirs.update(entry.to_theirs(tensor, sizes_of))
    torch.save({name: tensor.clone() for name, tensor in theirs.items()}, file)


# ---------------------------------------------------------------------- things of others


@contextmanager
def strangers(work: Path, inside: tuple[str, ...], log: Path) -> Iterator[Tree]:
    """Put things of others beside and inside, some of them in use by a living process.

    Yields:
        What lies there of others: it must be there afterwards, byte for byte.
    """
    before = set(read_tree(work))
    for folder in ("", *inside):
        _plant(work / folder)

    release = _hold(work, inside, log)
    try:
        now = read_tree(work)
        yield {
            name: content
            for name, content in now.items()
            if name not in before and not name.endswith(".lock")
        }
    finally:
        release()


def _plant(folder: Path) -> None:
    """Put files and folders of others into a folder, with names that look like ours."""
    (folder / ".x.tmp").write_text("a file of an editor")
    (folder / ".name.1-abcdef.tmp").write_text("of a process that lives: number 1")
    (folder / "new.tmp").write_text("somebody's notes")
    (folder / ".new").mkdir()
    (folder / ".new" / "state-0123456789ab.safetensors").write_bytes(b"a neighbour's")


def _hold(work: Path, inside: tuple[str, ...], log: Path) -> Callable[[], None]:
    """Start a process that writes beside and inside, and wait until it is in the middle of it."""
    import os
    import signal
    import time

    from tests.torture.children import start

    ready = log.with_name("ready")
    ready.unlink(missing_ok=True)
    holder = start(lambda: _write_for_ever(work, inside, ready), work, log.with_name("holder"))
    while not ready.exists():
        ended, _ = os.waitpid(holder, os.WNOHANG)
        assert not ended, log.with_name("holder.err").read_text()
        time.sleep(0.001)

    def release() -> None:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)

    return release


def _write_for_ever(work: Path, inside: tuple[str, ...], ready: Path) -> None:
    """Write a data set beside, and a training's file in a folder inside, and never end it."""
    import time
    from contextlib import ExitStack

    from emotailor.files import replacing_file, replacing_folder
    from emotailor.folders import held

    with ExitStack() as stack:
        for folder in ("", *inside):
            other = work / folder / "other-run"
            stack.enter_context(held(other))
            temporary = stack.enter_context(replacing_file(other / "checkpoint" / "state.json"))
            temporary.write_text("half of a state")

        for name in ("new", "neighbour"):
            other = work / f"{name}-of-others"
            beside = stack.enter_context(replacing_folder(other, index="dataset.json"))
            (beside / "dataset.json").write_text("half a data set")
        ready.write_text("in the middle")
        time.sleep(3600)
