"""Hostile input: every reader gets odd files, and may answer with a result or one of our errors.

Inputs are read in processes that may die. What else comes out than our errors, how long a reading
takes, how much memory it wants, what else it opens: all of it is watched.
"""

import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.targets import BY_NAME, TARGETS, Files, Target, use_world
from tests.torture.trees import clear, read_tree
from tests.torture.world import World

SECONDS = 60
"""Longest time of one input."""

MEMORY = 2 * 2**30
"""Most memory of one input, in bytes, beyond what the process has already."""

BATCH = 2000

SECRET = 1234.5
"""A number in a file that no reader may open."""

_PLACE = struct.Struct("<q")


@dataclass
class Findings:
    """What fuzzing has found.

    Attributes:
        tried: number of inputs.
        read: number of inputs that were read.
        refused: number of inputs that were refused by one of our errors.
        bad: kind of failure -> number of inputs.
        examples: kind of failure -> how to repeat it, and its end.
    """

    tried: int = 0
    read: int = 0
    refused: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Note a failure."""
        self.bad[kind] += 1
        if kind not in self.examples:
            self.examples[kind] = example
            print(f"FAILED  {example}", flush=True)


class Fuzz:
    """Odd input for every reader.

    Args:
        world: where the good input comes from.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.work.with_name("fuzz")
        use_world(world.parts)
        self.good: dict[str, Files] = {}

    def run(self, count: int, seed: int, names: list[str] | None = None) -> Findings:
        """Try ``count`` inputs, spread over the targets by their shares."""
        targets = [BY_NAME[name] for name in names] if names else list(TARGETS)
        total = sum(target.share for target in targets)
        findings = Findings()
        for target in targets:
            began = time.monotonic()
            tried = findings.tried
            self.run_target(target, max(1, round(count * target.share / total)), seed, findings)
            seconds = time.monotonic() - began
            inputs = findings.tried - tried
            print(
                f"  {target.name:22} {inputs:8,} inputs, {inputs / seconds:7,.0f} a second",
                flush=True,
            )
        return findings

    def run_target(self, target: Target, count: int, seed: int, findings: Findings) -> None:
        """Try inputs of one target, in processes of some hundred each."""
        if target.name not in self.good:
            self.good[target.name] = self._good_input(target)

        number = 0
        while number < count:
            number = self._batch(target, number, min(number + BATCH, count), seed, findings)

    def one(self, name: str, seed: int, number: int) -> Findings:
        """Try one input again."""
        findings = Findings()
        target = BY_NAME[name]
        self.good[name] = self._good_input(target)
        self._batch(target, number, number + 1, seed, findings)
        return findings

    def _good_input(self, target: Target) -> Files:
        """Make good input, and see that it is read."""
        from tests.torture.children import fork

        for part in target.parts:
            self.world.need(part)
        clear(self.place)
        self.place.mkdir()

        made = fork(lambda: target.seeds(self.place), self.place, self.world.log)
        assert made.code == 0, made.err
        files = {name: data for name, data in read_tree(self.place).items() if data is not None}

        used = fork(lambda: target.use(self.place), self.place, self.world.log)
        assert used.code == 0, used.err
        return files

    def _batch(self, target: Target, first: int, last: int, seed: int, findings: Findings) -> int:
        """Try some inputs in a process; return the number of the next one.

        A process that dies or hangs ends its batch with the input that it was at.
        """
        where = mmap.mmap(-1, _PLACE.size)
        results, writing = os.pipe()
        worker = os.fork()
        if not worker:
            os.close(results)
            _work(
                target, self.good[target.name], range(first, last), seed, self.place, where, writing
            )

        os.close(writing)
        text = _read_all(results, worker, where)
        _, status = os.waitpid(worker, 0)
        for line in text.splitlines():
            kind, _, rest = line.partition("\t")
            self._note(target, seed, kind, rest, findings)

        code = os.waitstatus_to_exitcode(status)
        reached = _PLACE.unpack(where[: _PLACE.size])[0]
        if code == 0:
            findings.tried += last - first
            return last

        findings.tried += reached - first + 1
        how = "took too long" if code == -signal.SIGKILL else f"ended the process with {code}"
        findings.add(f"{target.name}: {how}", f"{_repeat(target, seed, reached)}\n        {how}")
        return int(reached) + 1

    def _note(self, target: Target, seed: int, kind: str, rest: str, findings: Findings) -> None:
        """Note a line of a worker."""
        if kind == "read":
            findings.read += int(rest)
        elif kind == "refused":
            findings.refused += int(rest)
        else:
            number, _, why = rest.partition("\t")
            example = f"{_repeat(target, seed, int(number))}\n        {kind}: {why}"
            findings.add(f"{target.name}: {kind}", example)


def _repeat(target: Target, seed: int, number: int) -> str:
    return f"python -m tests.torture fuzz --seed {seed} --only '{target.name},{number}'"


def _read_all(results: int, worker: int, where: mmap.mmap) -> str:
    """Read what a worker says until it ends; kill it where one input takes too long."""
    import select

    text = b""
    reached = -1
    since = time.monotonic()
    while True:
        ready, _, _ = select.select([results], [], [], 0.5)
        if ready:
            more = os.read(results, 65536)
            if not more:
                break
            text += more

        now = _PLACE.unpack(where[: _PLACE.size])[0]
        if now != reached:
            reached = now
            since = time.monotonic()
        elif time.monotonic() - since > SECONDS:
            os.kill(worker, signal.SIGKILL)
            break
    os.close(results)
    return text.decode("utf-8", "replace")


# ---------------------------------------------------------------------- in the process that may die


def _work(  # noqa: PLR0917 - called in one place, in a process of its own
    target: Target,
    good: Files,
    numbers: range,
    seed: int,
    place: Path,
    where: mmap.mmap,
    writing: int,
) -> None:
    """Try inputs, say what came out, and end this process."""
    counts: Counter[str] = Counter()
    try:
        _prepare(place)
        for number in numbers:
            where[: _PLACE.size] = _PLACE.pack(number)
            for kind, why in _try(target, good, number, seed, place):
                counts[kind] += 1
                if kind not in {"read", "refused"}:
                    line = f"{kind}\t{number}\t{why}\n"
                    os.write(writing, line.encode("utf-8", "backslashreplace"))
        for kind in ("read", "refused"):
            os.write(writing, f"{kind}\t{counts[kind]}\n".encode())
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


_opened: list[str] = []


def _prepare(place: Path) -> None:
    """Bound the memory of this process, and watch what it opens."""
    import emotailor.errors
    from emotailor.data.checker import DataWarning

    warnings.simplefilter("ignore")
    warnings.simplefilter("ignore", DataWarning)
    clear(place)
    place.mkdir()
    os.chdir(place)
    secret = place.with_name("secret.bin")
    secret.write_bytes(struct.pack("<f", SECRET) * 4096)

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))

    allowed = (str(place), sys.prefix, sys.base_prefix, "/proc/self", "/dev/null")
    own = str(Path(__file__).parents[2])
    here = str(Path(emotailor.__file__).parent)
    sys.addaudithook(lambda event, given: _audit(event, given, (*allowed, own, here)))


def _audit(event: str, given: tuple[Any, ...], allowed: tuple[str, ...]) -> None:
    """Note what a reader has no business with."""
    if event == "open":
        name = given[0]
        if isinstance(name, str | bytes):
            text = os.path.abspath(os.fsdecode(name))  # noqa: PTH100
            if not text.startswith(allowed):
                _opened.append(text)
    elif event in {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect"}:
        _opened.append(event)


def _try(
    target: Target, good: Files, number: int, seed: int, place: Path
) -> Iterator[tuple[str, str]]:
    """Try one input; yield what came out."""
    from emotailor.errors import EmotailorError

    drawn = random.Random(f"{target.name}/{seed}/{number}")
    odd = target.odd(good, drawn)
    _lay(odd, place)
    _opened.clear()
    try:
        target.use(place)
        outcome = ("read", "")
    except EmotailorError as error:
        outcome = ("refused", "")
        # a message must be printable
        str(error).encode("utf-8", "backslashreplace")
    except (Exception, RecursionError) as error:
        outcome = (_kind(error), str(error).replace("\n", " ")[:300])
    yield outcome

    if _opened:
        yield "opened something else", ", ".join(sorted(set(_opened)))[:300]


_laid: dict[str, bytes] = {}


def _lay(files: Files, place: Path) -> None:
    """Make the working folder hold these files and nothing else; what lies there already stays."""
    folders = {name.split("/")[0] for name in files}
    for entry in os.scandir(place):
        if entry.name in folders:
            continue
        if entry.is_dir(follow_symlinks=False):
            clear(Path(entry.path))
        else:
            os.unlink(entry.path)  # noqa: PTH108

    for name in set(_laid) - set(files):
        (place / name).unlink()
        del _laid[name]
    for name, content in files.items():
        if _laid.get(name) is content:
            continue
        file = place / name
        if "/" in name:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        _laid[name] = content


def _kind(error: BaseException) -> str:
    """Return the kind of an exception: its type, and the last line of ours that it passed."""
    last = "nowhere"
    for frame in traceback.extract_tb(error.__traceback__):
        if "emotailor" in frame.filename and "/tests/" not in frame.filename:
            last = f"{Path(frame.filename).name}:{frame.name}"
    return f"{type(error).__name__} in {last}"
