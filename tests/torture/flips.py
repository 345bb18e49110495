"""One byte of a stored file is changed, and the file is used: that must never pass in silence.

Right is an error that names the file, a line that names it beside a result, or the very result that
the whole file gives.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from tests.torture.children import Ended, command
from tests.torture.trees import Tree, differences, read_tree
from tests.torture.world import World

_BENCHMARK = "--models br,tailor --seeds 1 --config systems.toml --resamples 20 --jobs 1"


@dataclass(frozen=True)
class Use:
    """A command that reads stored files.

    Attributes:
        name: for the reader.
        line: the command line.
        needs: parts of the world; every file in the folders among them may be damaged.
        prints: whether what it prints is a result, and not only how it goes on.
        weight: how often it is tried, beside the others: more often where it takes little time.
    """

    name: str
    line: str
    needs: tuple[str, ...]
    prints: bool = True
    weight: int = 1


USES: tuple[Use, ...] = (
    Use("train", "train -d data -o new -c tiny.toml", ("data", "tiny.toml")),
    Use(
        "resume", "train -d data -o half -c tiny.toml", ("data", "tiny.toml", "half"), prints=False
    ),
    Use("evaluate", "evaluate shown", ("data", "shown"), weight=3),
    Use("predict", "predict run data --json", ("data", "run"), weight=4),
    Use("report", "report shown", ("data", "shown")),
    Use("figures", "figures shown", ("data", "shown")),
    Use("figures of planted truth", "figures planted", ("synthetic", "planted")),
    Use("validate", "data validate data", ("data",), weight=4),
    Use("inspect", "data inspect synthetic", ("synthetic",), weight=4),
    Use("report table", "report table", ("data", "table")),
    Use(
        "benchmark",
        f"benchmark -d data -o table {_BENCHMARK}",
        ("data", "table", "systems.toml"),
        prints=False,
    ),
)

QUICK_USES = ("predict", "validate", "inspect")
"""Those that take little time."""

KINDS: dict[str, tuple[str, ...]] = {
    "dataset.json": ("*/dataset.json",),
    "shard": ("*/train-0*.safetensors", "*/valid-0*.safetensors", "*/test-0*.safetensors"),
    "statistics": ("*/statistics-*.safetensors",),
    "attachment": ("*/truth-*.safetensors",),
    "config.json": ("*/config.json",),
    "metrics.jsonl": ("*/metrics.jsonl",),
    "checkpoint state": ("*/checkpoint/*.json",),
    "checkpoint tensors": ("*/checkpoint/*.safetensors",),
    "model.json": ("*/model/model.json",),
    "weights": ("*/model/*.safetensors",),
    "evaluation": ("*/evaluation-*.json",),
    "predictions": ("*/predictions-*.csv",),
    "benchmark.json": ("table/benchmark.json",),
    "run settings": ("table/*/seed42.json",),
    "figures index": ("*/figures/index.json",),
    "figures numbers": ("*/figures/[a-hj-z]*.json",),
    "figures pictures": ("*/figures/*.png", "*/figures/*.svg"),
}
"""Kind of stored file -> patterns of paths."""


@dataclass(frozen=True)
class Flip:
    """A byte to change.

    Attributes:
        use: name of the command that reads.
        file: path of the file below the working folder.
        at: place of the byte.
        mask: what it is combined with by exclusive or; never 0.
    """

    use: str
    file: str
    at: int
    mask: int


class Flips:
    """Trials of flipped bytes.

    Args:
        world: where they are made.
        uses: names of the commands that read.
    """

    def __init__(self, world: World, uses: Sequence[str]) -> None:
        self.world = world
        self.uses = {use.name: use for use in USES if use.name in uses}
        self.whole = cache(self._whole)
        self.results: Counter[str] = Counter()

    def trials(self, count: int, seed: int) -> Iterator[tuple[str, Flip]]:
        """Yield (kind of file, flip), as many of each kind as of every other."""
        drawn = random.Random(seed)
        every = {kind: self._places(patterns) for kind, patterns in KINDS.items()}
        places = {kind: found for kind, found in every.items() if found}
        for number in range(count):
            kinds = list(places)
            kind = kinds[number % len(kinds)]
            use, file = drawn.choice(places[kind])
            part, _, rest = file.partition("/")
            at = _place_in(self.world.need(part) / rest, drawn)
            yield kind, Flip(use, file, at, drawn.randrange(1, 256))

    def _places(self, patterns: Sequence[str]) -> list[tuple[str, str]]:
        """Return (use, file) for every command that has a file of these names before it."""
        found = []
        for use in self.uses.values():
            for part in use.needs:
                folder = self.world.need(part)
                for file in sorted(folder.rglob("*")):
                    name = file.relative_to(self.world.parts).as_posix()
                    matches = any(fnmatch(name, pattern) for pattern in patterns)
                    if file.is_file() and matches and file.stat().st_size:
                        found += [(use.name, name)] * use.weight
        return found

    def trial(self, flip: Flip) -> list[str]:
        """Use a damaged file; return what is wrong."""
        use = self.uses[flip.use]
        expected, tree = self.whole(flip.use)
        self.world.prepare(use.needs)
        file = self.world.work / flip.file
        content = bytearray(file.read_bytes())
        content[flip.at] ^= flip.mask
        file.write_bytes(content)

        ended = command(tuple(use.line.split()), self.world.work, self.world.log)
        after = read_tree(self.world.work)
        if not use.prints and ended.code == 0:
            expected = replace(expected, out=ended.out)
        result, why = judge(flip, ended, after, expected, tree)
        self.results[result] += 1
        return [why] if why else []

    def _whole(self, name: str) -> tuple[Ended, Tree]:
        """Return what a command does with whole files."""
        use = self.uses[name]
        self.world.prepare(use.needs)
        ended = command(tuple(use.line.split()), self.world.work, self.world.log)
        assert ended.code == 0, ended
        return ended, read_tree(self.world.work)


def judge(flip: Flip, ended: Ended, after: Tree, expected: Ended, tree: Tree) -> tuple[str, str]:
    """Say whether a damaged file was noticed, or did no harm, and why not.

    Returns:
        "refused", "told", "the same" or "wrong"; and what is wrong, or the empty string.
    """
    if ended.traced or ended.late or ended.code < 0:
        return "wrong", f"exit code {ended.code}: {ended.err.strip()[-1500:]}"

    # a file may be named by its folder where each folder has one
    told = ended.out + ended.err
    named = Path(flip.file).name in told
    if ended.code != 0:
        if named:
            return "refused", ""
        return "wrong", f"the file is not named: {ended.err.strip()[:400]}"
    if named:
        return "told", ""

    lines = differences(after, tree, _may_differ(flip.file))
    if ended.out != expected.out:
        lines.append(f"printed: {_first_line(ended.out, expected.out)}")
    if not lines:
        return "the same", ""
    return "wrong", f"read in silence: {'; '.join(lines[:3])[:500]}"


def _may_differ(flipped: str) -> Callable[[str], bool]:
    """Return a test for the files that may differ: the damaged one, locks and logs."""

    def may(name: str) -> bool:
        return name == flipped or name.endswith((".lock", ".log"))

    return may


def _first_line(found: str, expected: str) -> str:
    """Return the first line that differs."""
    here = found.splitlines()
    there = expected.splitlines()
    for line, other in zip(here, there, strict=False):
        if line != other:
            return f"{line!r}, expected {other!r}"
    return f"{len(here)} lines, expected {len(there)}"


def _place_in(file: Path, drawn: random.Random) -> int:
    """Draw a byte of a file: of one of its tensors, each as likely as the header."""
    size = file.stat().st_size
    if file.suffix != ".safetensors":
        return drawn.randrange(size)

    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    begin = 8 + length
    parts = [(0, begin)]
    for entry in json.loads(content[8:begin]).values():
        if "data_offsets" in entry:
            first, last = entry["data_offsets"]
            parts.append((begin + first, begin + last))

    first, last = drawn.choice([part for part in parts if part[0] < part[1]])
    return drawn.randrange(first, last)
