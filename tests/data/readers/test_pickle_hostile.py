"""Files that are small and ask for much, or ask twice: refused, each for its reason."""

import os
import pickle
import random
import socket
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.readers import require_file
from emotailor.data.readers._common import as_array, read_csv
from emotailor.data.readers._pickle import load_pickle, load_torch
from emotailor.data.readers.safe.npy import load_npz
from emotailor.errors import DataError
from tests.torture import opcodes

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY = RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tC\x01btRq\x01"
"""An array without a state, kept in the memo as number 1."""


def dtype(spec: str) -> bytes:
    return b"cnumpy\ndtype\n(" + opcodes.text(spec) + b"\x89\x88tR"


def state(spec: str, *sizes: int, data: bytes) -> bytes:
    shape = b"(" + b"".join(map(opcodes.number, sizes)) + b"t"
    return b"(K\x01" + shape + dtype(spec) + b"\x89" + data + b"t"


FLOAT = state("f4", 1, data=b"C\x04\0\0\x80?")


def read(tmp_path: Path, program: bytes) -> Any:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04" + program + b".")
    return load_pickle(path)


def test_an_array_is_read_from_its_state(tmp_path: Path) -> None:
    array = read(tmp_path, EMPTY + FLOAT + b"b")
    assert array.tolist() == [1.0]
    assert not array.flags.writeable


def test_the_memo_holds_the_array_and_not_what_it_was_before(tmp_path: Path) -> None:
    array, again = read(tmp_path, EMPTY + FLOAT + b"bh\x01\x86")
    assert again is array


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (EMPTY + FLOAT + b"b" + FLOAT + b"b", "sets the state of a ndarray"),
        (EMPTY + b"2" + FLOAT + b"b0" + FLOAT + b"b", "sets the state of a EmptyArray"),
        (EMPTY, "before that has its numbers"),
        (EMPTY + b"]h\x01a" + FLOAT + b"b", "sets the state of a list"),
        (b"]" + EMPTY + b"ah\x01" + FLOAT + b"b0", "before that has its numbers"),
        (EMPTY + state("O", 1, data=b"](h\x01e") + b"b", "before that has its numbers"),
        (EMPTY + state("O", 1, data=b"C\x08AAAAAAAA") + b"b", "without a list"),
        (EMPTY + state("U1", 1, data=b"C\x04\xff\xff\xff\x7f") + b"b", "no Unicode"),
        (EMPTY + state("b1", 1, data=b"C\x01\x02") + b"b", "truth values"),
        (EMPTY + state("U0", 2**62, data=b"C\x00") + b"b", "without room"),
        (EMPTY + state("f4", 0, 2**40, data=b"C\x00") + b"b", "impossible shape"),
        (EMPTY + state("f4", 0, 10**6, 10**6, data=b"C\x00") + b"b", "impossible shape"),
        (EMPTY + state("c8", 1, data=b"C\x08AAAAAAAA") + b"b", "type c8"),
        (EMPTY + state("M8", 1, data=b"C\x08AAAAAAAA") + b"b", "type M8"),
        (EMPTY + state("f4,f4", 1, data=b"C\x08AAAAAAAA") + b"b", "several fields"),
        (b"\x97", "not in the file"),
        (b"(K\x01" + b"\x85" * 20_000 + b"Nd", "a tuple as a key"),
        (b"(K\x01" + b"\x85" * 20_000 + b"\x91", "a tuple as a key"),
        (b"(]Nd", "a list as a key"),
        (b"\x8b\x00\x00\x10\x00" + bytes(2**20), "a number of 1048576 bytes"),
        (b"I" + b"9" * 2000 + b"\n", "does not end"),
        (b"X\xff\xff\xff\x7f", "announced in a file"),
        (b"\x95" + b"\xff" * 8 + b"]a", "no"),
        (b"C\xff" + bytes(255) + b"K\x01\x86", ""),
    ],
)
def test_what_is_refused_and_why(tmp_path: Path, program: bytes, reason: str) -> None:
    if not reason:
        assert read(tmp_path, program) == (bytes(255), 1)
        return
    with pytest.raises(DataError, match=reason):
        read(tmp_path, program)


@pytest.mark.parametrize("levels", [2, 4, 7])
def test_what_is_shared_is_not_written_out(tmp_path: Path, levels: int) -> None:
    bomb: list[Any] = [1] * 3000
    for _ in range(levels - 1):
        bomb = [bomb] * 3000
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(bomb, 4))
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match="once what it shares is written out"):
        load_pickle(path)


def test_rows_of_padding_may_be_one_list(tmp_path: Path) -> None:
    row = [0.0] * 74
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([row] * 30_000, 4))
    assert len(load_pickle(tmp_path / "x.pkl")) == 30_000


def test_objects_in_arrays_do_not_hide_nesting(tmp_path: Path) -> None:
    inner: Any = 1
    for _ in range(9):
        outer = np.empty(2, object)
        outer[:] = [inner, inner]
        inner = outer
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(inner, 4))
    with pytest.raises(DataError, match="nested more than 8 deep"):
        load_pickle(tmp_path / "x.pkl")


def test_copies_of_one_thing_are_counted(tmp_path: Path) -> None:
    one = b"c__builtin__\nlist\nq\x00(" + b"N" * 100_000 + b"tq\x01h\x00h\x01\x85R"
    with pytest.raises(DataError, match="far more data than its"):
        read(tmp_path, one + b"h\x00h\x01\x85R" * 200)


def test_protocol_5_in_any_order_of_axes(tmp_path: Path) -> None:
    array = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    content = [array, array.transpose(1, 2, 0), np.asfortranarray(array), array[:, ::2]]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, 5))
    for loaded, expected in zip(load_pickle(tmp_path / "x.pkl"), content, strict=True):
        np.testing.assert_array_equal(loaded, expected)

    array = array.transpose(2, 0, 1)  # as NumPy before 2.2 and since write it
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        frombuffer = f"c{module}\n_frombuffer\n(".encode()
        raw = b"B" + struct.pack("<I", 96) + np.arange(24, dtype="<f4").tobytes()
        shape = b"(K\x02K\x03K\x04t" + opcodes.text("K") + b"(K\x02K\x00K\x01t"
        loaded = read(tmp_path, frombuffer + raw + dtype("f4") + shape + b"tR")
        np.testing.assert_array_equal(loaded, array)


def test_state_dicts_and_parameters_of_torch(tmp_path: Path) -> None:
    import torch

    layer = torch.nn.Linear(3, 2)
    torch.save({"state": layer.state_dict(), "weight": layer.weight}, tmp_path / "x.pt")
    loaded, unknown = load_torch(tmp_path / "x.pt")
    np.testing.assert_array_equal(loaded["weight"], layer.weight.detach().numpy())
    assert list(loaded["state"]) == ["weight", "bias"]
    assert unknown == []


def _overlapping(path: Path) -> None:
    """Let a hundred members share the bytes of one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", bytes(10_000))
        place = archive.NameToInfo["x/data/0"]
        for i in range(1, 100):
            copy = zipfile.ZipInfo(f"x/data/{i}")
            copy.header_offset, copy.CRC = place.header_offset, place.CRC
            copy.file_size = copy.compress_size = place.file_size
            archive.filelist.append(copy)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    _overlapping(path)
    with pytest.raises(DataError, match="overlaps what follows it"):
        load_torch(path)
    with pytest.raises(DataError, match="overlaps what follows it"):
        load_npz(path, "arrays")


def _npz_with(path: Path, header: str, data: bytes, method: int = zipfile.ZIP_STORED) -> None:
    line = header.encode().ljust(117) + b"\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("audio.npy", head + data)


@pytest.mark.parametrize(
    ("shape", "descr", "reason"),
    [
        ("(1000000000,)", "<f4", "its shape asks for 4000000000"),
        ("(1000000000,)", "<U0", "without room for a character"),
        ("(0, 1000000000)", "<f4", "impossible shape"),
        ("(2,)", "<c16", "complex128"),
        ("(1,)", "|O", "holds Python objects"),
        ("(1,)", "<U2", "no Unicode"),
    ],
)
def test_npz_headers_are_not_believed(tmp_path: Path, shape: str, descr: str, reason: str) -> None:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    data = b"" if shape != "(1,)" else b"\xff" * 8
    _npz_with(tmp_path / "x.npz", header, data)
    with pytest.raises(DataError, match=reason):
        load_npz(tmp_path / "x.npz", "arrays")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, audio=np.zeros((1000, 1000)))  # packed a thousandfold, and real
    assert load_npz(path, "arrays")[0]["audio"].shape == (1000, 1000)

    data = path.read_bytes()
    name = data.rindex(b"PK\x01\x02")
    forged = bytearray(data)
    forged[name + 24 : name + 28] = struct.pack("<I", 2**31)
    path.write_bytes(bytes(forged))
    with pytest.raises(DataError, match="would unpack to 2147483648"):
        load_npz(path, "arrays")


def test_text_of_very_different_length_is_no_array() -> None:
    with pytest.raises(DataError, match="one of them a text of 4000000 bytes"):
        as_array(["x" * 1_000_000, *"abc" * 1000], "ids", "text")
    assert as_array(["ab", "c"], "ids", "text").tolist() == ["ab", "c"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"," * 1_000_000 + b"\n", "has 1000001 columns"),
        (b"id,a\n" + b"x" * (2**24 + 1), "line 2: more than 16777216 characters"),
        (b"id,a\n" + b"x" * 2000 + b"\0,1\n", "line 2: a zero byte"),
        (b'id,a\nv,1\nw,"2\nx,3\ny,4\n', "line 3: a quote that is not closed"),
        (b"id,a\nv," + b'"' + b"x" * 200_000 + b"\n", "field larger than field limit"),
        (b"id,a\n" + b"v,\xff\n", "byte 0xff at position 7"),
    ],
)
def test_tables_that_are_no_tables(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_csv(path, "a table")


def test_quotes_over_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('id,a\nv,"1\n2"\nw,5" tall\n', encoding="utf-8")
    table = read_csv(path, "a table")
    assert [row["a"] for row in table.rows] == ["1\n2", '5" tall']
    assert table.lines == [3, 4]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.pkl"
    os.mkfifo(fifo)
    link = tmp_path / "link.pkl"
    link.symlink_to(link)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        kinds = {
            fifo: "a named pipe, not a file",
            tmp_path / "s": "a socket, not a file",
            Path("/dev/zero"): "a device, not a file",
            tmp_path: "a folder, not a file",
            link: "cannot be read",
            tmp_path / "absent": "does not exist",
        }
        for path, reason in kinds.items():
            for read_path in (load_pickle, load_torch, lambda p: require_file(p, "data")):
                with pytest.raises(DataError, match=reason):
                    read_path(path)


def test_pickles_by_the_grammar_of_opcodes(tmp_path: Path) -> None:
    """The small form of `python -m tests.torture.opcodes`."""
    read_well = 0
    for i in range(200):
        path = tmp_path / "x"
        path.write_bytes(opcodes.generate(random.Random(f"quick {i}")))
        read_well += opcodes.check(path)
    assert 20 < read_well < 120
