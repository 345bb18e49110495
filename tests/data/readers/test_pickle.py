import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.readers._pickle import Inert, load_pickle, load_torch
from emotailor.errors import DataError
from tests.data.readers.sources import Evil, replace_pickle

ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.array([1, 2, 3], ">i4"),
    "strings": np.array([["ann", "1.5"], ["bob", "22"]]),
    "bytes": np.array([b"ann", b"bo"]),
    "lists": np.array([[1, 2], None, "x"], dtype=object),
    "empty": np.zeros((0, 5), np.float32),
    "flag": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_content_is_read_as_pickle_reads_it(tmp_path: Path, protocol: int) -> None:
    content = {
        **ARRAYS,
        "scalar": np.float64(1.5),
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, a=[1]),
        "set": {1, 2},
        "raw": b"\x00\xff",
        "no bytes": b"",
        "nested": [(1, 2.5, None, "ü", 10**30)],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    loaded = load_pickle(path)
    assert list(loaded) == list(content)
    for key, array in ARRAYS.items():
        assert loaded[key].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[key], array)
    for key in set(content) - set(ARRAYS):
        assert loaded[key] == content[key], key


def test_both_module_paths_of_numpy_and_strings_of_python_2_are_known(tmp_path: Path) -> None:
    data = pickle.dumps(ARRAYS["float"], 2)
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    new = data.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    # Python 2 wrote the bytes as its str (BINSTRING), where Python 3 calls _codecs.encode
    raw = ARRAYS["float"].tobytes()
    start, end = data.rindex(b"h\x03X"), data.rindex(b"q\x13t")
    python2 = data[:start] + b"T" + struct.pack("<i", len(raw)) + raw + data[end:]
    for variant in (old, new, python2):
        path = tmp_path / "x.pkl"
        path.write_bytes(variant)
        np.testing.assert_array_equal(load_pickle(path), ARRAYS["float"])


def _hostile(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}".encode()
    python = f"open({str(marker)!r}, 'w')".encode()

    def text(value: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value

    return {
        "reduce": pickle.dumps(Evil(marker)),
        "reduce in text": pickle.dumps(Evil(marker), 0),
        "deep inside": pickle.dumps({"train": [{"id": [(Evil(marker),)]}]}, 2),
        "os.system": b"cos\nsystem\n(" + text(command) + b"tR.",
        "eval by STACK_GLOBAL": b"\x80\x04"
        + text(b"builtins")
        + text(b"eval")
        + b"\x93("
        + text(python)
        + b"tR.",
        "eval by INST": b"(" + text(python) + b"i__builtin__\neval\n.",
        "eval by OBJ": b"(cbuiltins\neval\n" + text(python) + b"o.",
        "getattr of a module": b"cbuiltins\ngetattr\n(c__builtin__\n__import__\n("
        + text(b"os")
        + b"tR"
        + text(b"system")
        + b"tR("
        + text(command)
        + b"tR.",
        "dotted name": b"\x80\x04" + text(b"numpy") + text(b"os.system") + b"\x93.",
        "numpy runstring": b"cnumpy.testing._private.utils\nrunstring\n(" + text(python) + b"}tR.",
        "apply a codec": b"c_codecs\nencode\n(" + text(python) + text(b"rot13") + b"tR.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"Pos.system\n.",
    }


@pytest.mark.parametrize("name", list(_hostile(Path("x"))))
@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_hostile_pickles_run_nothing(tmp_path: Path, name: str, container: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "x"
    data = _hostile(marker)[name]
    if container == "pickle":
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"refused and nothing was run|cannot be read"):
            load_pickle(path)
    else:
        replace_pickle(path, data)
        try:
            load_torch(path)  # may give a placeholder
        except DataError as error:
            assert "cannot be read" in str(error)
    assert not marker.exists()


def test_the_hostile_pickle_does_run_when_loaded_in_earnest(tmp_path: Path) -> None:
    pickle.loads(_hostile(tmp_path / "marker")["reduce"])  # noqa: S301 - shows the test can fail
    assert (tmp_path / "marker").exists()


def test_the_refusal_names_the_global(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    with pytest.raises(DataError, match=rf"asks for {os.system.__module__}\.system"):
        load_pickle(path)


class _Forged:
    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


def _forged_dtype(spec: str, state: tuple[object, ...]) -> _Forged:
    return _Forged(np.dtype, (spec, False, True), state)


@pytest.mark.parametrize(
    "state",
    [
        # bytes taken for object pointers, with and without a dtype that denies being objects
        (1, (1,), np.dtype("O"), False, b"A" * 8),
        (1, (1,), _forged_dtype("O8", (3, "|", None, None, None, -1, -1, 0)), False, b"A" * 8),
        (1, (5,), np.dtype("O"), False, [1]),
        (1, (3,), np.dtype("f4"), False, b"A" * 8),
        (1, (-1,), np.dtype("f4"), False, b""),
        (1, (2**62,), np.dtype("f4"), False, b"AAAA"),
        (1, (1,), np.dtype([("a", "O")]), False, [(1,)]),
        (1, (1,), "f4", False, b"AAAA"),
    ],
)
def test_forged_array_states_are_refused(tmp_path: Path, state: tuple[object, ...]) -> None:
    reconstruct = np.zeros(1).__reduce__()[0]
    forged = _Forged(reconstruct, (np.ndarray, (0,), b"b"), state)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(forged))
    with pytest.raises(DataError, match="cannot be read"):
        load_pickle(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04Nr\xff\xff\xff\xff.",  # a memo of 64 GiB
        b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",  # a bytearray of 64 GiB
        b"\x80\x04\x8e\x00\x00\x00\x00\x10\x00\x00\x00.",  # bytes of 64 GiB
        b"c__builtin__\nbytes\n(J\x00\x00\x00\x7ftR.",  # bytes(2 ** 31)
        b"(" * 100_000 + b".",
        b"]a.",
        b"",
    ],
)
def test_forged_sizes_do_not_fill_the_memory(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    if data.startswith(b"\x80\x04Nr"):
        assert load_pickle(path) is None
    else:
        with pytest.raises(DataError):
            load_pickle(path)


def test_a_pickle_cannot_change_what_it_may_call(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for target in ("_codecs\nencode", "numpy\ndtype", "collections\nOrderedDict"):
        path.write_bytes(f"c{target}\n(N}}S'__call__'\nI1\nstb.".encode())
        with pytest.raises(DataError, match="tries to change a function"):
            load_pickle(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_give_arrays_and_placeholders(tmp_path: Path, zipped: bool) -> None:
    import argparse

    import torch

    base = torch.arange(12, dtype=torch.float32)
    content: dict[str, Any] = {
        "tensor": base.reshape(3, 4),
        "transposed view": base.reshape(3, 4)[1:].T,
        "long": torch.tensor([5, -7]),
        "empty": torch.zeros(0, 3),
        "array": ARRAYS["float"],
        "lists": [[2, 4, 3]],
        "settings": argparse.Namespace(lr=0.1, nested=Evil(tmp_path / "marker")),
    }
    path = tmp_path / "x.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loaded, unknown = load_torch(path)
    for key in ("tensor", "transposed view", "long", "empty"):
        assert loaded[key].shape == tuple(content[key].shape)
        np.testing.assert_array_equal(loaded[key], content[key].numpy())
    np.testing.assert_array_equal(loaded["array"], ARRAYS["float"])
    assert loaded["lists"] == [[2, 4, 3]]
    assert isinstance(loaded["settings"], Inert)
    assert unknown == ["argparse.Namespace", f"{os.system.__module__}.system"]
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_cut_anywhere_are_refused(tmp_path: Path, zipped: bool) -> None:
    import torch

    path = tmp_path / "x.pt"
    torch.save({"a": torch.arange(50.0)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    for cut in range(1, len(data) - 1, 53):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError):
            load_torch(path)


def test_damage_in_a_torch_zip_is_found_by_its_checksum(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "x.pt"
    torch.save({"array": np.full(100, 1.5)}, path)
    data = bytearray(path.read_bytes())
    data[data.index("ø?".encode()) + 2] ^= 1  # inside the numbers: 1.5 ends in the bytes f8 3f
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot be read"):
        load_torch(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "x.pt"
    torch.save({"a": torch.arange(3.0)}, path)
    import zipfile

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        parts = {name: archive.read(name) for name in names}
    pkl = next(n for n in names if n.endswith("data.pkl"))
    # the size (3,) follows the offset 0: claim (200,) elements
    forged = parts[pkl].replace(b"K\x00K\x03\x85", b"K\x00K\xc8\x85")
    assert forged != parts[pkl]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, forged if name == pkl else parts[name])
    with pytest.raises(DataError, match="beyond its storage"):
        load_torch(path)
