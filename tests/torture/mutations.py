"""Odd files made from good ones: bytes, numbers in text, JSON, safetensors, zip, HDF5."""

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

_SIZES = (0, 1, 2, 7, 255, 256, 4095, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63)
_TEXTS = (
    "",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\u202eright to left",
    "=1+1",
    "../../outside",
    "<script>alert(1)</script>",
    "\nerror: forged",
    "é" * 300,
    "nan",
    "inf",
    "-1",
    "1e400",
    "None",
    "ann[0]",
    "/etc/passwd",
)
_NUMBERS = (
    "0",
    "-1",
    "-0.0",
    "1e308",
    "1e-320",
    "99999999999999999999",
    "9" * 400,
    "2147483648",
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
)


# ---------------------------------------------------------------------- bytes


def bytes_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change some bytes anywhere, as damage or a careless attacker would."""
    changed = bytearray(data)
    for _ in range(drawn.choice((1, 1, 1, 2, 3, 8))):
        change = drawn.choice(_BYTE_CHANGES)
        change(changed, drawn)
    return bytes(changed)


def _flip(data: bytearray, drawn: random.Random) -> None:
    if data:
        data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)


def _set(data: bytearray, drawn: random.Random) -> None:
    if data:
        data[drawn.randrange(len(data))] = drawn.choice(
            (0, 1, 0x7F, 0x80, 0xFF, drawn.randrange(256))
        )


def _size(data: bytearray, drawn: random.Random) -> None:
    """Put a size that hurts over some bytes."""
    width = drawn.choice((1, 2, 4, 8))
    value = drawn.choice(_SIZES) % (1 << (8 * width))
    at = drawn.randrange(len(data) + 1)
    data[at : at + width] = value.to_bytes(width, drawn.choice(("little", "big")))


def _cut(data: bytearray, drawn: random.Random) -> None:
    del data[drawn.randrange(len(data) + 1) :]


def _remove(data: bytearray, drawn: random.Random) -> None:
    at = drawn.randrange(len(data) + 1)
    del data[at : at + drawn.choice((1, 2, 4, 8, 32))]


def _repeat(data: bytearray, drawn: random.Random) -> None:
    at = drawn.randrange(len(data) + 1)
    piece = data[at : at + drawn.choice((1, 4, 16, 64))]
    data[at:at] = piece * drawn.choice((1, 2, 50))


def _insert(data: bytearray, drawn: random.Random) -> None:
    at = drawn.randrange(len(data) + 1)
    data[at:at] = drawn.randbytes(drawn.choice((1, 2, 4, 16)))


def _swap(data: bytearray, drawn: random.Random) -> None:
    """Exchange two stretches of the same length."""
    width = drawn.choice((1, 4, 8, 16))
    if len(data) < 2 * width:
        return
    first = drawn.randrange(len(data) - width + 1)
    second = drawn.randrange(len(data) - width + 1)
    here = bytes(data[first : first + width])
    data[first : first + width] = data[second : second + width]
    data[second : second + width] = here


_BYTE_CHANGES = (_flip, _flip, _set, _set, _size, _size, _cut, _remove, _repeat, _insert, _swap)

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def text_changed(data: bytes, drawn: random.Random) -> bytes:
    """Put other numbers and words into a text."""
    for _ in range(drawn.choice((1, 1, 2))):
        pattern, new = drawn.choice(((_NUMBER, _NUMBERS), (_WORD, _TEXTS), (_NUMBER, _TEXTS)))
        found = list(pattern.finditer(data))
        if not found:
            continue
        match = drawn.choice(found)
        data = data[: match.start()] + drawn.choice(new).encode() + data[match.end() :]
    return data


# ---------------------------------------------------------------------- JSON


def odd_value(drawn: random.Random) -> Any:
    """Return a value that a reader may not expect."""
    make = drawn.choice(_ODD_VALUES)
    return make(drawn)


def _odd_text(drawn: random.Random) -> Any:
    return drawn.choice((*_TEXTS, "\ud800 half a letter"))


_ODD_VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda drawn: drawn.choice((None, True, False)),
    lambda drawn: drawn.choice((0, -1, 1, 10**20, 10**400, -(2**63), 2**63, 2**31)),
    lambda drawn: drawn.choice((0.0, -0.5, 1e308, 1e-320, float("nan"), float("inf"))),
    lambda drawn: nested(drawn.choice((5, 100, 900, 5000)), drawn),
    lambda drawn: [odd_value(drawn) for _ in range(drawn.randrange(3))],
    lambda drawn: {drawn.choice(_TEXTS): odd_value(drawn)},
    lambda drawn: [0] * drawn.choice((0, 1, 3, 2000)),
    _odd_text,
    _odd_text,
    _odd_text,
)


class Raw:
    """JSON that is written as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


def nested(depth: int, drawn: random.Random) -> Raw:
    """Return lists or tables in each other, that many deep."""
    if drawn.random() < 0.5:
        return Raw("[" * depth + "]" * depth)
    return Raw('{"a":' * depth + "1" + "}" * depth)


def tree_changed(value: Any, drawn: random.Random) -> Any:
    """Return a parsed JSON value with one node changed."""
    places = list(_places(value))
    if not places:
        return odd_value(drawn)

    holder, key = drawn.choice(places)
    change = drawn.randrange(6)
    if change == 0:
        del holder[key]
    elif change == 1:
        other, name = drawn.choice(places)
        holder[key] = copy.deepcopy(other[name]) if name in _keys(other) else None
    elif change == 2 and isinstance(holder, dict):
        holder[drawn.choice(_TEXTS)] = holder.pop(key)
    elif change == 3 and isinstance(holder, dict):
        holder[drawn.choice(_TEXTS)] = odd_value(drawn)
    elif change == 4 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = odd_value(drawn)
    return value


def _keys(holder: Any) -> Sequence[Any]:
    return list(holder) if isinstance(holder, dict) else range(len(holder))


def _places(value: Any) -> Any:
    """Yield (table or list, key) of every node."""
    if not isinstance(value, dict | list):
        return
    for key in _keys(value):
        yield value, key
        yield from _places(value[key])


def to_json(value: Any) -> bytes:
    """Write a value as JSON, also what JSON does not know."""
    raws: list[str] = []

    def stand_in(raw: Any) -> str:
        raws.append(raw.text)
        return f"@raw{len(raws) - 1}@"

    text = json.dumps(value, default=stand_in)
    for number, raw in enumerate(raws):
        text = text.replace(f'"@raw{number}@"', raw)
    return text.encode("utf-8", "surrogatepass")


def json_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change nodes of a JSON file, or its bytes."""
    if drawn.random() < 0.2:
        return bytes_changed(data, drawn)
    if drawn.random() < 0.25:
        return text_changed(data, drawn)

    value = json.loads(data)
    for _ in range(drawn.choice((1, 1, 2))):
        value = tree_changed(value, drawn)
        if not isinstance(value, dict | list):
            break
    return to_json(value)


# ---------------------------------------------------------------------- containers


def safetensors_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change the header of a safetensors file, its length, or bytes."""
    if drawn.random() < 0.4:
        return bytes_changed(data, drawn)

    size = int.from_bytes(data[:8], "little")
    body = data[8 + size :]
    header = json_changed(data[8 : 8 + size], drawn)
    length = len(header)
    if drawn.random() < 0.1:
        length = drawn.choice(_SIZES)
    return (length % 2**64).to_bytes(8, "little") + header + body


def npy_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change what a .npy file says of its array, or bytes."""
    if drawn.random() < 0.4 or not data.startswith(b"\x93NUMPY"):
        return bytes_changed(data, drawn)

    size = int.from_bytes(data[8:10], "little")
    body = data[10 + size :]
    kind = drawn.choice(
        (
            "<f4",
            "<f8",
            "|O",
            "<U9",
            "<U99999999",
            "|S0",
            "|V8",
            ">i2",
            "<M8[s]",
            "|b1",
            "<c16",
            "<f2",
        )
    )
    shape = drawn.choice(
        ("()", "(0,)", "(3,)", "(-1, 5)", "(99999999999,)", "(1, 1, 1, 1)", "(2, 0, 3)", "(3, 5)")
    )
    described = drawn.choice((f"'{kind}'", f"[('a', '{kind}')]", "['x']", "'int128'", "None"))
    order = drawn.choice(("True", "False", "1"))
    header = f"{{'descr': {described}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if drawn.random() < 0.1:
        header = "(" * drawn.choice((10, 100, 5000))

    raw = header.encode().ljust(54) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + body


def zip_changed(inner: Mutation) -> Mutation:
    """Return a change of a zip file: of a member, of the list of members, or of bytes."""

    def changed(data: bytes, drawn: random.Random) -> bytes:
        choice = drawn.random()
        if choice < 0.3:
            return bytes_changed(data, drawn)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]

        if choice < 0.75:
            at = drawn.randrange(len(members))
            name, content = members[at]
            members[at] = (name, inner(content, drawn))
        else:
            members = _members_changed(members, drawn)

        packed = _zipped(members, drawn)
        return _directory_changed(packed, drawn) if drawn.random() < 0.15 else packed

    return changed


def _members_changed(
    members: list[tuple[str, bytes]], drawn: random.Random
) -> list[tuple[str, bytes]]:
    """Remove, repeat, rename or swap members."""
    at = drawn.randrange(len(members))
    name, content = members[at]
    change = drawn.randrange(6)
    if change == 0:
        return members[:at] + members[at + 1 :]
    if change == 1:
        return [*members, members[at]]
    if change == 2:
        return [*members, (drawn.choice(("../up", "/etc/x", "a" * 500, "dir/", "x.npy")), content)]
    if change == 3:
        other = drawn.randrange(len(members))
        members[at] = (name, members[other][1])
        return members
    if change == 4:
        members[at] = (name, b"\0" * drawn.choice((10, 10**5, 10**7)))
        return members
    members[at] = (drawn.choice(("id.npy", "split.npy", "x", "archive/data.pkl")), content)
    return members


def _zipped(members: list[tuple[str, bytes]], drawn: random.Random) -> bytes:
    import warnings

    stream = io.BytesIO()
    method = drawn.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # names that occur twice are meant
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _directory_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change a size, an offset, a method or a flag in the directory of a zip file."""
    changed = bytearray(data)
    entries = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    if not entries:
        return data

    entry = drawn.choice(entries)
    place, width = drawn.choice(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (42, 4)))
    value = drawn.choice((*_SIZES, *entries)) % (1 << (8 * width))
    changed[entry + place : entry + place + width] = value.to_bytes(width, "little")
    return bytes(changed)


# ---------------------------------------------------------------------- tables


def csv_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change cells, rows and columns of a CSV, or its bytes."""
    choice = drawn.random()
    if choice < 0.25:
        return bytes_changed(data, drawn)
    if choice < 0.45:
        return text_changed(data, drawn)

    rows = [line.split(",") for line in data.decode("utf-8", "replace").split("\n")]
    change = drawn.randrange(8)
    row = drawn.choice(rows)
    if change == 0:
        row[drawn.randrange(len(row))] = drawn.choice((*_TEXTS, *_NUMBERS))
    elif change == 1:
        rows.append(list(row))
    elif change == 2:
        row.append(drawn.choice(_TEXTS))
    elif change == 3 and len(row) > 1:
        del row[drawn.randrange(len(row))]
    elif change == 4:
        drawn.shuffle(rows)
    elif change == 5:
        row[0] = '"' + row[0]
    elif change == 6:
        row[drawn.randrange(len(row))] = "x" * drawn.choice((1000, 140_000))
    else:
        rows = [[*cells, *[f"c{k}" for k in range(drawn.choice((10, 3000)))]] for cells in rows]

    text = "\n".join(",".join(cells) for cells in rows)
    encoding = drawn.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.encode(encoding, "replace")


# ---------------------------------------------------------------------- HDF5


def hdf5_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change bytes of an HDF5 file, or replace, remove or redirect what is in it."""
    if drawn.random() < 0.4:
        return bytes_changed(data, drawn)

    import h5py

    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = drawn.choice(names)
        change = drawn.choice(_HDF5_CHANGES)
        try:
            change(file, name, drawn)
        except (KeyError, ValueError, TypeError, OSError, RuntimeError):
            return bytes_changed(data, drawn)
    return stream.getvalue()


def _put(file: Any, name: str, value: Any, **options: Any) -> None:
    """Put a data set in the place of what has a name."""
    del file[name]
    file.create_dataset(name, data=value, **options)


def _other_array(file: Any, name: str, drawn: random.Random) -> None:
    import numpy as np

    values: list[Any] = [
        np.zeros((0, 3)),
        np.zeros(()),
        np.full((2, 2), np.nan),
        np.array([[1, 0], [0, -1]], np.float64),
        np.zeros((3, 5, 7)),
        np.array([b"text", b"more"]),
        np.zeros(2, [("a", "f4"), ("b", "i8")]),
        np.array([1 + 2j]),
        np.array([[2**63 - 1]], np.int64),
        np.array([[1e300, 1e308]]),
        np.array([True, False]),
    ]
    _put(file, name, drawn.choice(values))


def _huge(file: Any, name: str, drawn: random.Random) -> None:
    """Declare far more numbers than the file has bytes."""
    del file[name]
    shape = drawn.choice(((10**9, 3), (10**12,), (3, 10**9), (2**40, 2**10), (70_000, 10_000)))
    kind = drawn.choice(("f4", "f8", "i8"))
    chunks = tuple(min(size, 64) for size in shape)
    packing = drawn.choice((None, "gzip"))
    file.create_dataset(name, shape=shape, dtype=kind, chunks=chunks, compression=packing)


def _elsewhere(file: Any, name: str, drawn: random.Random) -> None:
    """Take the numbers from another file of the machine."""
    import h5py

    secret = drawn.choice(("secret.bin", "../secret.bin", "/etc/passwd"))
    del file[name]
    kind = drawn.randrange(4)
    if kind == 0:
        file.create_dataset(name, shape=(4, 3), dtype="f4", external=[(secret, 0, 48)])
    elif kind == 1:
        file[name] = h5py.ExternalLink(secret, "/d1")
    elif kind == 2:
        layout = h5py.VirtualLayout(shape=(4, 3), dtype="f4")
        layout[:] = h5py.VirtualSource(secret, "d1", shape=(4, 3))
        file.create_virtual_dataset(name, layout)
    else:
        file[name] = h5py.SoftLink(drawn.choice((f"/{name}", "/", "/nowhere", "..")))


def _removed(file: Any, name: str, drawn: random.Random) -> None:
    del file[name]
    if drawn.random() < 0.5:
        file.create_group(name)


def _texts_in(file: Any, name: str, drawn: random.Random) -> None:
    import h5py

    texts = [drawn.choice(_TEXTS).replace("\x00", "") for _ in range(3)]
    del file[name]
    file.create_dataset(name, data=texts, dtype=h5py.string_dtype())


def _renamed(file: Any, name: str, drawn: random.Random) -> None:
    new = drawn.choice(_TEXTS).replace("\x00", "").strip("./") or "new"
    file.move(name, new)


def _loop(file: Any, name: str, drawn: random.Random) -> None:
    """Let a group hold itself."""
    group = file[name]
    if hasattr(group, "keys"):
        group["itself"] = file["/"]
    else:
        group.attrs["units"] = drawn.choice(_TEXTS).replace("\x00", "")


def _bomb(file: Any, name: str, drawn: random.Random) -> None:
    """Put many zeros there that take few bytes."""
    import numpy as np

    zeros = np.zeros((drawn.choice((10, 3_000)), 2_000), np.float32)
    _put(file, name, zeros, compression="gzip", chunks=zeros.shape)


_HDF5_CHANGES = (
    _other_array, _other_array, _other_array, _huge, _elsewhere, _elsewhere, _removed, _texts_in,
    _renamed, _loop, _bomb,
)  # fmt: skip


# ---------------------------------------------------------------------- files of other kinds


def pickle_changed(data: bytes, drawn: random.Random) -> bytes:
    """Change bytes of a pickle, or its numbers and names."""
    choice = drawn.random()
    if choice < 0.6:
        return bytes_changed(data, drawn)
    if choice < 0.8:
        return _names_changed(data, drawn)

    # a pickle in a pickle: the rest of one behind the start of the same
    at = drawn.randrange(len(data) + 1)
    other = drawn.randrange(len(data) + 1)
    return data[:at] + data[other:]


_GLOBALS = (
    b"cos\nsystem\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"ccollections\nOrderedDict\n",
    b"cbuiltins\neval\n",
    b"c__main__\nX\n",
    b"c_codecs\nencode\n",
    b"0",
    b"2",
    b"R",
    b"b",
    b"}",
    b"]",
    b"(",
    b"t",
    b"\x85",
    b"s",
    b"u",
    b"e",
    b"\x94",
    b"Q",
)


def _names_changed(data: bytes, drawn: random.Random) -> bytes:
    """Put operations of a pickle somewhere into it."""
    at = drawn.randrange(len(data) + 1)
    piece = b"".join(drawn.choice(_GLOBALS) for _ in range(drawn.randrange(1, 4)))
    return data[:at] + piece + data[at:]


def of_suffix(file: Path) -> Mutation:
    """Return the change that fits a file by its name."""
    return _BY_SUFFIX.get(file.suffix, bytes_changed)


def float_bytes(value: float) -> bytes:
    """Return a number as the four bytes that a file holds."""
    return struct.pack("<f", value)


_BY_SUFFIX: dict[str, Mutation] = {
    ".json": json_changed,
    ".jsonl": text_changed,
    ".csv": csv_changed,
    ".npy": npy_changed,
    ".npz": zip_changed(npy_changed),
    ".pt": zip_changed(pickle_changed),
    ".bin": zip_changed(pickle_changed),
    ".pkl": pickle_changed,
    ".safetensors": safetensors_changed,
    ".csd": hdf5_changed,
    ".h5": hdf5_changed,
    ".toml": text_changed,
}
