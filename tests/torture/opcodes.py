"""Pickles made by the grammar of their opcodes, and what must hold when one is read.

Bytes changed at random rarely get past the first opcode. Here a program is written that is valid up
to the places where it plays: it takes from the memo what is not finished, sets a state twice, calls
what it should not, nests, repeats, and lies about sizes. Real pickles are cut at their opcodes and
put together anew.

    python -m tests.torture.opcodes --count 300000 --seed 1

runs it; each batch in a process that may die, with 2 GB of memory and 60 seconds.
"""

import argparse
import collections
import contextlib
import io
import os
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.readers._common import Block, as_array
from emotailor.data.readers._pickle import load_pickle, load_torch
from emotailor.data.readers._sniff import LEGACY_TORCH
from emotailor.errors import DataError

Rng = random.Random

_NAMES = [
    (b"numpy", b"ndarray"), (b"numpy", b"dtype"), (b"numpy.core.multiarray", b"_reconstruct"),
    (b"numpy._core.multiarray", b"_reconstruct"), (b"numpy.core.multiarray", b"scalar"),
    (b"numpy._core.numeric", b"_frombuffer"), (b"_codecs", b"encode"),
    (b"collections", b"OrderedDict"), (b"collections", b"defaultdict"), (b"builtins", b"set"),
    (b"__builtin__", b"frozenset"), (b"builtins", b"list"), (b"builtins", b"tuple"),
    (b"builtins", b"dict"), (b"builtins", b"bytes"), (b"builtins", b"bytearray"),
    (b"torch._utils", b"_rebuild_tensor_v2"), (b"torch._utils", b"_rebuild_parameter"),
    (b"torch", b"FloatStorage"), (b"torch", b"BoolStorage"), (b"torch", b"Size"),
    (b"argparse", b"Namespace"), (b"os", b"system"), (b"builtins", b"getattr"),
]  # fmt: skip
_SPECS = ["f4", "f8", "f2", "i8", "u1", "b1", "U3", "S4", "U0", "O", "O8", "V8", "M8", "c8", "f16",
          "f4,f4", ">i4", "U99999999", "x", "i3"]  # fmt: skip
_STORAGES = 3
_STORAGE = np.arange(24, dtype="<f4").tobytes()


class _Writer:
    """Writes one program.

    Args:
        rng: the source of every choice.
        wrong: how often the right thing is replaced by anything.
    """

    def __init__(self, rng: Rng, wrong: float) -> None:
        self.rng = rng
        self.wrong = wrong
        self.kept = 0

    def slips(self) -> bool:
        return self.rng.random() < self.wrong

    def keep(self) -> bytes:
        """Put what is on top into the memo, mostly at the next place."""
        place = self.kept
        if self.slips():
            place = self.rng.choice([0, place, 255, 2**31, 2**32 - 1])
        self.kept += 1
        if place < 256:
            return pickle.BINPUT + bytes([place])
        return pickle.LONG_BINPUT + struct.pack("<I", place)

    def taken(self) -> bytes:
        place = self.rng.randrange(max(1, min(self.kept + 1, 256)))
        return pickle.BINGET + bytes([place])

    def name(self, module: bytes, name: bytes) -> bytes:
        if self.slips():
            module, name = self.rng.choice(_NAMES)
        way = self.rng.randrange(4)
        if way == 0:
            return text(module.decode()) + text(name.decode()) + pickle.STACK_GLOBAL
        return pickle.GLOBAL + module + b"\n" + name + b"\n"

    def called(self, function: bytes, *args: bytes) -> bytes:
        """Call a function, in one of three ways."""
        listed = list(args)
        if listed and self.slips():
            listed[self.rng.randrange(len(listed))] = self.value(1)
        if self.rng.random() < 0.1:
            return pickle.MARK + function + b"".join(listed) + pickle.OBJ
        made = pickle.MARK + b"".join(listed) + pickle.TUPLE
        ending = pickle.NEWOBJ if self.slips() else pickle.REDUCE
        return function + made + ending

    def value(self, depth: int) -> bytes:
        """Write a program that leaves one value, mostly."""
        choices: list[Callable[[int], bytes]] = [
            self.scalar, self.scalar, self.listed, self.tupled, self.mapped, self.gathered,
            self.array, self.array, self.object_array, self.buffer, self.numpy_scalar,
            self.tensor, self.dtype, self.container_call, self.fan,
        ]  # fmt: skip
        if depth <= 0 or self.rng.random() < 0.1:
            return self.scalar(depth)
        if self.kept and self.rng.random() < 0.2:
            return self.taken()
        written = self.rng.choice(choices)(depth - 1)
        if self.rng.random() < 0.4:
            written += self.keep()
        if self.slips():
            written += self.game(depth - 1)
        return written

    def game(self, depth: int) -> bytes:
        """Do something to what is on top that files do not do."""
        rng = self.rng
        state = self.state(depth)
        games = [
            state + pickle.BUILD,
            state + pickle.BUILD + state + pickle.BUILD,
            pickle.DUP + state + pickle.BUILD,
            self.keep() + state + pickle.BUILD + self.taken() + state + pickle.BUILD,
            pickle.DUP + pickle.APPEND,
            pickle.DUP + pickle.TUPLE2,
            self.keep() + pickle.EMPTY_LIST + self.taken() + pickle.APPEND,
            pickle.EMPTY_TUPLE + pickle.REDUCE,
            pickle.EMPTY_TUPLE + pickle.NEWOBJ,
            self.value(depth) + self.value(depth) + pickle.SETITEM,
            pickle.MARK + self.value(depth) + pickle.APPENDS,
            pickle.MARK + self.value(depth) + pickle.ADDITEMS,
            pickle.POP,
            pickle.MARK + pickle.DUP + pickle.POP_MARK,
            pickle.BINPERSID,
            bytes([rng.randrange(256)]),
            pickle.FRAME + struct.pack("<Q", rng.choice([0, 5, 2**63])),
            pickle.BINBYTES8 + struct.pack("<Q", rng.choice([2**20, 2**40, 2**63])),
            pickle.LONG4 + struct.pack("<i", rng.choice([-1, 2**20])),
            pickle.NEXT_BUFFER,
            pickle.EXT1 + b"\x01",
        ]
        return rng.choice(games)

    def scalar(self, _: int) -> bytes:
        rng = self.rng
        written = [
            pickle.NONE,
            pickle.NEWTRUE,
            pickle.BININT1 + bytes([rng.randrange(6)]),
            pickle.BININT + struct.pack("<i", rng.choice([-1, 0, 2, 2**31 - 1])),
            pickle.LONG1 + b"\x09" + bytes(8) + b"\x01",
            pickle.LONG1 + b"\xff" + bytes([rng.randrange(256)] * 255),
            pickle.INT + rng.choice([b"7", b"01", b"9" * 900, b"x"]) + b"\n",
            pickle.LONG + b"12L\n",
            pickle.FLOAT + rng.choice([b"nan", b"1e400", b"1_0"]) + b"\n",
            pickle.BINFLOAT + struct.pack(">d", rng.choice([0.5, float("inf"), -0.0])),
            text(
                rng.choice(["", "train", "vision", "id", "labels", "\u00ff", "latin1", "storage"])
            ),
            pickle.BINUNICODE + struct.pack("<I", 3) + b"\xed\xa0\x80",
            pickle.STRING + rng.choice([b"'ab\\x00'", b"'\\q'", b"'a", b"''"]) + b"\n",
            pickle.UNICODE + rng.choice([b"abc", b"\\u12", b"\\ud800"]) + b"\n",
            self.raw(rng.randrange(9)),
        ]
        return rng.choice(written)

    def raw(self, count: int) -> bytes:
        """Write bytes, in one of the ways of the protocols."""
        data = bytes(self.rng.choice([0, 1, 65, 255]) for _ in range(count))
        way = self.rng.randrange(4)
        if way == 0:
            return pickle.SHORT_BINBYTES + bytes([count]) + data
        if way == 1:
            return pickle.BYTEARRAY8 + struct.pack("<Q", count) + data
        if way == 2:
            return pickle.SHORT_BINSTRING + bytes([count]) + data
        encoded = text(data.decode("latin-1"))
        return self.called(self.name(b"_codecs", b"encode"), encoded, text("latin1"))

    def items(self, depth: int, most: int = 4) -> bytes:
        return b"".join(self.value(depth) for _ in range(self.rng.randrange(most)))

    def listed(self, depth: int) -> bytes:
        if self.rng.random() < 0.3:
            return pickle.MARK + self.items(depth) + pickle.LIST
        return pickle.EMPTY_LIST + pickle.MARK + self.items(depth) + pickle.APPENDS

    def tupled(self, depth: int) -> bytes:
        if self.rng.random() < 0.3:
            return self.value(depth) + self.value(depth) + pickle.TUPLE2
        return pickle.MARK + self.items(depth) + pickle.TUPLE

    def pairs(self, depth: int) -> bytes:
        written = b""
        for _ in range(self.rng.randrange(4)):
            key = self.value(depth) if self.slips() else self.scalar(0)
            written += key + self.value(depth)
        return written

    def mapped(self, depth: int) -> bytes:
        if self.rng.random() < 0.3:
            return pickle.MARK + self.pairs(depth) + pickle.DICT
        return pickle.EMPTY_DICT + pickle.MARK + self.pairs(depth) + pickle.SETITEMS

    def gathered(self, depth: int) -> bytes:
        if self.rng.random() < 0.5:
            return pickle.MARK + self.items(depth) + pickle.FROZENSET
        return pickle.EMPTY_SET + pickle.MARK + self.items(depth) + pickle.ADDITEMS

    def container_call(self, depth: int) -> bytes:
        kind = self.rng.choice([b"set", b"list", b"tuple", b"dict", b"frozenset", b"bytes"])
        if self.rng.random() < 0.3:
            return self.called(self.name(b"collections", b"OrderedDict"), self.listed(depth))
        return self.called(self.name(b"builtins", kind), self.listed(depth))

    def fan(self, depth: int) -> bytes:
        """Hold one thing many times, that holds one thing many times."""
        levels = self.rng.choice([1, 1, 2, 2, 3, 5, 9, 50])
        times = self.rng.choice([1, 2, 9, 30])
        written = self.value(depth)
        for _ in range(levels):
            place = bytes([self.kept % 256])
            self.kept += 1
            container = self.rng.choice([pickle.LIST, pickle.LIST, pickle.TUPLE])
            many = (pickle.BINGET + place) * times
            written += pickle.BINPUT + place + pickle.POP + pickle.MARK + many + container
        return written

    def dtype(self, _: int) -> bytes:
        spec = self.rng.choice(_SPECS[:9] if self.rng.random() < 0.8 else _SPECS)
        return self.dtype_of(spec)

    def dtype_of(self, spec: str) -> bytes:
        made = self.called(
            self.name(b"numpy", b"dtype"), text(spec), pickle.NEWFALSE, pickle.NEWTRUE
        )
        if self.rng.random() < 0.2:
            return made
        order = text(self.rng.choice(["<", "<", ">", "|", "="]))
        rest = pickle.NONE * 3 + (pickle.BININT + struct.pack("<i", -1)) * 2 + number(0)
        return made + pickle.MARK + number(3) + order + rest + pickle.TUPLE + pickle.BUILD

    def shape(self, sizes: list[int]) -> bytes:
        if self.slips():
            sizes = self.rng.choice([[2**62], [-1], [0, 2**40], [0] * 40, [1] * 33, [2, 2]])
        return pickle.MARK + b"".join(map(number, sizes)) + pickle.TUPLE

    def plain(self) -> tuple[bytes, bytes, bytes]:
        """Write shape, dtype and bytes that fit each other, mostly."""
        spec, width = self.rng.choice([("f4", 4), ("i8", 8), ("u1", 1), ("b1", 1), ("U2", 8),
                                       ("S3", 3), ("f2", 2), ("U0", 0)])  # fmt: skip
        sizes = [self.rng.randrange(4) for _ in range(self.rng.randrange(4))]
        count = width
        for size in sizes:
            count *= size
        if self.slips():
            count += self.rng.choice([-1, 1, 7])
        return self.shape(sizes), self.dtype_of(spec), self.raw(min(max(0, count), 255))

    def state(self, depth: int) -> bytes:
        shape, dtype, data = self.plain()
        if self.rng.random() < 0.3:
            shape, dtype, data = self.objects(depth)
        order = self.rng.choice([pickle.NEWFALSE, pickle.NEWTRUE, number(1), number(0)])
        if self.slips():
            order = self.value(depth)
        return pickle.MARK + number(1) + shape + dtype + order + data + pickle.TUPLE

    def objects(self, depth: int) -> tuple[bytes, bytes, bytes]:
        count = self.rng.randrange(4)
        values = b"".join(self.value(depth) for _ in range(count))
        data = pickle.EMPTY_LIST + pickle.MARK + values + pickle.APPENDS
        return self.shape([count]), self.dtype_of("O"), data

    def empty_array(self) -> bytes:
        module = self.rng.choice([b"numpy.core.multiarray", b"numpy._core.multiarray"])
        kind = self.name(b"numpy", b"ndarray")
        return self.called(self.name(module, b"_reconstruct"), kind, self.shape([0]), self.raw(1))

    def array(self, depth: int) -> bytes:
        made = self.empty_array()
        if self.rng.random() < 0.5:
            made += self.keep()
        if self.slips():
            return made
        return made + self.state(depth) + pickle.BUILD

    def object_array(self, depth: int) -> bytes:
        """Fill an array with objects, among them perhaps itself."""
        made = self.empty_array() + self.keep()
        shape, dtype, data = self.objects(depth)
        state = pickle.MARK + number(1) + shape + dtype + pickle.NEWFALSE + data + pickle.TUPLE
        return made + state + pickle.BUILD

    def numpy_scalar(self, _: int) -> bytes:
        function = self.name(b"numpy.core.multiarray", b"scalar")
        return self.called(function, self.dtype_of("f4"), self.raw(4))

    def buffer(self, _: int) -> bytes:
        shape, dtype, data = self.plain()
        order = text(self.rng.choice(["C", "F", "K", "A"]))
        function = self.name(b"numpy._core.numeric", b"_frombuffer")
        if self.rng.random() < 0.3:
            axes = pickle.MARK + b"".join(map(number, [1, 0][: self.rng.randrange(3)]))
            return self.called(function, data, dtype, shape, text("K"), axes + pickle.TUPLE)
        return self.called(function, data, dtype, shape, order)

    def tensor(self, _: int) -> bytes:
        rng = self.rng
        kind = self.name(b"torch", b"FloatStorage")
        key = text(str(rng.randrange(_STORAGES + 1)))
        count = number(rng.choice([24, 24, 12, 25, 0, 2**40]))
        parts = text("storage") + kind + key + text("cpu") + count
        storage = pickle.MARK + parts + pickle.TUPLE + pickle.BINPERSID
        sizes = self.shape([rng.randrange(5) for _ in range(2)])
        steps = self.shape([rng.choice([0, 1, 4, 6, 2**40]) for _ in range(2)])
        offset = number(rng.choice([0, 0, 1, 23, 24]))
        function = self.name(b"torch._utils", b"_rebuild_tensor_v2")
        made = self.called(function, storage, offset, sizes, steps, pickle.NEWFALSE, pickle.NONE)
        if rng.random() < 0.2:
            outer = self.name(b"torch._utils", b"_rebuild_parameter")
            return self.called(outer, made, pickle.NEWTRUE, pickle.NONE)
        return made


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return pickle.BININT1 + bytes([value])
    size = value.bit_length() // 8 + 1
    return pickle.LONG1 + bytes([size]) + value.to_bytes(size, "little", signed=True)


def _written(rng: Rng) -> bytes:
    writer = _Writer(rng, rng.choice([0.0, 0.02, 0.1, 0.3]))
    body = writer.value(rng.choice([2, 3, 4, 5]))
    if rng.random() < 0.2:
        body = deep(rng, body)
    return b"\x80" + bytes([rng.choice([2, 4, 5])]) + body + pickle.STOP


def deep(rng: Rng, body: bytes) -> bytes:
    """Nest a value, and perhaps use it as a key."""
    levels = rng.choice([3, 3, 9, 9, 9, 500, 500, 20_000])
    kind = rng.choice([pickle.TUPLE1, pickle.MARK + pickle.LIST + pickle.TUPLE2])
    body += kind * levels
    ending = rng.choice([b"", pickle.NONE + pickle.DICT, pickle.FROZENSET])
    return (pickle.MARK if ending else b"") + body + ending


def real(rng: Rng) -> bytes:
    """Write a pickle that NumPy makes."""
    rows = rng.randrange(3)
    values = np.arange(rows * 6, dtype=rng.choice(["f4", "f8", ">i4", "u1", "f2"]))
    array = values.reshape(rows, 3, 2)
    split = {
        "vision": array.transpose(rng.sample(range(3), 3)),
        "audio": np.asfortranarray(array),
        "text": array[..., ::2],
        "id": np.array([f"a{i}" for i in range(rows)], "U4"),
        "raw_text": np.array([["x", 1], None], object),
        "regression_labels": [np.float64(1.5)] * rows,
        "ordered": collections.OrderedDict(a=collections.defaultdict(list, b=[1])),
        "set": {1, "a", (2, 3)},
        "bytes": [b"ab", bytearray(b"cd"), frozenset({1.5})],
    }
    return pickle.dumps({"train": split, "test": split}, rng.randrange(6))


def _recombined(rng: Rng) -> bytes:
    """Cut a real pickle at its opcodes and leave out, repeat, exchange or move some."""
    data = real(rng)
    places = [place for _, _, place in pickletools.genops(data) if place is not None]
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    body, last = parts[:-1], parts[-1]
    for _ in range(rng.choice([1, 1, 2, 5])):
        i, j = rng.randrange(len(body)), rng.randrange(len(body))
        way = rng.randrange(6)
        if way == 0 and len(body) > 2:
            del body[i]
        elif way == 1:
            body.insert(i, body[j])
        elif way == 2:
            body[i], body[j] = body[j], body[i]
        elif way == 3:
            a, b = sorted((i, j))
            body[i:i] = body[a : min(b, a + 12)]
        elif way == 4:
            changed = bytearray(body[i])
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            body[i] = bytes(changed)
        else:
            body.insert(i, rng.choice([pickle.BUILD, pickle.DUP, pickle.REDUCE, pickle.POP]))
    return b"".join(body) + last


def torch_zip(rng: Rng, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", data)
        for i in range(_STORAGES):
            size = rng.choice([len(_STORAGE), len(_STORAGE), 5, 0])
            archive.writestr(f"x/data/{i}", _STORAGE[:size])
    return file.getvalue()


def torch_legacy(rng: Rng, data: bytes) -> bytes:
    keys = [str(i) for i in range(rng.randrange(_STORAGES + 1))]
    head = LEGACY_TORCH + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    numbers = b""
    for _ in keys:
        numbers += struct.pack("<q", rng.choice([24, 24, 25])) + _STORAGE
    return head + data + pickle.dumps(keys, 2) + numbers


def generate(rng: Rng) -> bytes:
    """Return the bytes of one file: a pickle, or a torch file of either format around it."""
    make = _written if rng.random() < 0.7 else _recombined
    data = make(rng)

    wrapped = rng.random()
    if wrapped < 0.25:
        data = torch_zip(rng, data)
    elif wrapped < 0.4:
        data = torch_legacy(rng, data)

    # a few bytes wrong beside
    if rng.random() < 0.1:
        changed = bytearray(data)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        data = bytes(changed)
    return data


def check(path: Path) -> bool:
    """Read a file and walk through what it holds; return whether it was read, not refused.

    Raises:
        Exception: whatever is raised that is not a ``DataError``.
    """
    with path.open("rb") as file:
        head = file.read(len(LEGACY_TORCH))
    is_torch = head[:2] == b"PK" or head == LEGACY_TORCH
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes and numbers that are strange
        try:
            content = load_torch(path)[0] if is_torch else load_pickle(path)
        except DataError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
            return False
        walk(content)
    return True


def walk(content: Any) -> None:
    """Touch everything that was read, as readers and messages do."""
    repr(content)
    seen: dict[int, Any] = {}
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value

        if isinstance(value, dict):
            hash(tuple(value))
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif isinstance(value, np.ndarray):
            touch(value)
            if value.dtype.kind == "O":
                waiting += value.ravel().tolist()
        for use in (use_as_array, use_as_block):
            with contextlib.suppress(DataError):
                use(value)


def touch(array: np.ndarray) -> None:
    """Read every number of an array, and copy it."""
    array.tolist()
    if array.dtype.kind != "O":  # whose objects were shown already
        repr(array)
    copy = np.ascontiguousarray(array)
    assert copy.nbytes == array.size * array.itemsize
    if array.dtype.kind in "biuf":
        array.sum(dtype=np.float64)
        array.astype(np.float32)


def use_as_array(value: Any) -> None:
    touch(as_array(value, "x", "an array"))


def use_as_block(value: Any) -> None:
    if isinstance(value, list | tuple | np.ndarray):
        block = Block("x", value, vectors=True)
        for i in range(len(block)):
            touch(block[i])


# running many of them

_MEMORY = 2 * 2**30
_SECONDS = 60


def _inputs(seed: int, start: int, count: int) -> Iterator[bytes]:
    for i in range(start, start + count):
        yield generate(random.Random(f"{seed} {i}"))


def _run_batch(seed: int, start: int, count: int, folder: Path) -> int:
    """Check inputs in a process of its own and return its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]

    status = 1
    was_read = 0
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        path = folder / "input"
        for data in _inputs(seed, start, count):
            path.write_bytes(data)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_SECONDS)
            was_read += check(path)
            signal.alarm(0)
        with (folder / "read").open("ab") as file:
            file.write(b"." * was_read)
        status = 0
    except BaseException:  # whatever it is, the parent reports it
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _failures(seed: int, start: int, count: int, folder: Path) -> list[int]:
    """Return the numbers of the inputs that fail, by halving the batch."""
    if _run_batch(seed, start, count, folder) == 0:
        return []
    if count == 1:
        return [start]
    half = count // 2
    first = _failures(seed, start, half, folder)
    return first + _failures(seed, start + half, count - half, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--keep", type=Path, help="folder for the inputs that fail")
    options = parser.parse_args()
    began = time.monotonic()
    failed = []
    tried = 0
    batch = 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for start in range(0, options.count, batch):
            if time.monotonic() - began > options.seconds:
                break
            size = min(batch, options.count - start)
            tried += size
            failed += _failures(options.seed, start, size, folder)
        reads = folder / "read"
        was_read = reads.stat().st_size if reads.exists() else 0

    for i in failed:
        print(f"failed: seed {options.seed}, input {i}")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            data = generate(random.Random(f"{options.seed} {i}"))
            (options.keep / f"{options.seed}-{i}").write_bytes(data)
    seconds = time.monotonic() - began
    print(f"{tried} inputs, {was_read} read, {len(failed)} failed, {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
