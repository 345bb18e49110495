"""HDF5 files that were made to open other files, or to fill the memory."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emotailor.data.readers.convert import convert
from emotailor.data.readers.safe import hdf5
from emotailor.data.readers.safe.hdf5 import Hdf5
from emotailor.errors import DataError
from tests.data.readers.sources import Source, csd, pom

ENTRY = "COVAREP/data/bob/features"
SECRET = np.arange(15.0).reshape(3, 5)


def _secret(folder: Path) -> Path:
    """A file that no data file may open: whoever tries to waits for ever."""
    path = folder / "secret.h5"
    os.mkfifo(path)
    return path


def _external_link(file: h5py.File, folder: Path) -> None:
    file[ENTRY] = h5py.ExternalLink(str(_secret(folder)), "x")


def _external_group(file: h5py.File, folder: Path) -> None:
    del file["COVAREP/data/bob"]
    file["COVAREP/data/bob"] = h5py.ExternalLink(str(_secret(folder)), "x")


def _external_root(file: h5py.File, folder: Path) -> None:
    del file["COVAREP"]
    file["COVAREP"] = h5py.ExternalLink(str(_secret(folder)), "COVAREP")


def _soft_link(file: h5py.File, folder: Path) -> None:
    file["COVAREP/data/zoe"] = h5py.ExternalLink(str(_secret(folder)), "x")
    file[ENTRY] = h5py.SoftLink("/COVAREP/data/zoe/features")


def _external_storage(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (3, 5), "f8", external=[(str(_secret(folder)), 0, 120)])


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3, 5), "f8", (None, 5))
    layout[:3] = h5py.VirtualSource(str(_secret(folder)), "x", (3, 5), maxshape=(None, 5))
    file.create_virtual_dataset(ENTRY, layout)


def _references(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (3, 5), h5py.ref_dtype)


def _never_written(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (1_000_000, 5), "f8", chunks=(1000, 5), compression="gzip")


def _never_written_plain(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (1_000_000, 5), "f8")


def _too_large(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (1 << 40, 5), "f8", chunks=(1000, 5))


def _one_chunk(file: h5py.File, folder: Path) -> None:
    data = file.create_dataset(ENTRY, (3, 5), "f8", chunks=(1 << 25, 5), maxshape=(None, 5))
    assert data.chunks == (1 << 25, 5)


def _bomb(file: h5py.File, folder: Path) -> None:
    # a chunk of 120 bytes that inflates to 50 MiB
    data = file.create_dataset(ENTRY, (3, 5), "f8", chunks=(3, 5), compression="gzip")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(50)) + packer.flush()
    data.id.write_direct_chunk((0, 0), packed)


def _small_bomb(file: h5py.File, folder: Path) -> None:
    # small enough to be taken for noise that gzip made no smaller
    data = file.create_dataset(ENTRY, (3, 5), "f8", chunks=(3, 5), compression="gzip")
    data.id.write_direct_chunk((0, 0), zlib.compress(bytes(1_000_000), 9))


def _other_filter(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, data=SECRET, compression="lzf")


def _plugin(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (3, 5), "f8", chunks=(3, 5))
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((3, 5))
    layout.set_filter(32_013, h5py.h5z.FLAG_OPTIONAL, ())
    del file[ENTRY]
    file.require_group("COVAREP/data/bob")
    space = h5py.h5s.create_simple((3, 5))
    h5py.h5d.create(file.id, ENTRY.encode(), h5py.h5t.IEEE_F64LE, space, layout)


def _gzip_twice(file: h5py.File, folder: Path) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((3, 5))
    layout.set_deflate(9)
    layout.set_deflate(9)
    file.require_group("COVAREP/data/bob")
    space = h5py.h5s.create_simple((3, 5))
    h5py.h5d.create(file.id, ENTRY.encode(), h5py.h5t.IEEE_F64LE, space, layout)


def _long_words(file: h5py.File, folder: Path) -> None:
    file.create_dataset(ENTRY, (3, 5), "S2000000000", chunks=(1, 1), compression="gzip")


Attack = Callable[[h5py.File, Path], None]
ELSEWHERE: dict[str, tuple[Attack, str]] = {
    "external link": (_external_link, r"bob/features is a link \(ExternalLink\)"),
    "external group": (_external_group, r"data/bob is a link \(ExternalLink\)"),
    "external root": (_external_root, r"COVAREP is a link \(ExternalLink\)"),
    "soft link": (_soft_link, r"bob/features is a link \(SoftLink\)"),
    "external storage": (_external_storage, "bob/features is in external storage"),
    "virtual": (_virtual, "bob/features is a virtual data set"),
    "references": (_references, "entry 'bob' has features object"),
    "long words": (_long_words, "entry 'bob' has features"),
}
LARGE: dict[str, tuple[Attack, str]] = {
    "never written": (_never_written, "declares 40000 bytes and holds 0"),
    "never written, plain": (_never_written_plain, "declares 40000000 bytes and holds 0"),
    "too large": (_too_large, f"declares {5 * 8 << 40} bytes"),
    "one chunk": (_one_chunk, f"declares {5 * 8 << 25} bytes"),
    "bomb": (_bomb, "declares 120 bytes and holds 50976"),
    "small bomb": (_small_bomb, "declares 120 bytes and holds 121"),
    "other filter": (_other_filter, r"stored with lzf \(32000\)"),
    "plugin": (_plugin, r"stored with .*\(32013\)"),
    "gzip twice": (_gzip_twice, r"stored with deflate \(1\), deflate \(1\)"),
}


@pytest.mark.parametrize("name", list(ELSEWHERE))
def test_a_data_file_opens_no_other(tmp_path: Path, name: str) -> None:
    attack, said = ELSEWHERE[name]
    source = csd(tmp_path / "csd")
    with h5py.File(source.damage, "r+") as file:
        del file[ENTRY]
        attack(file, tmp_path)
    with pytest.raises(DataError, match=said):
        convert(source.path, tmp_path / "out", **source.options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(LARGE))
def test_a_data_file_gives_no_more_than_it_holds(tmp_path: Path, name: str) -> None:
    attack, said = LARGE[name]
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        attack(file, tmp_path)
    with Hdf5(path, "x") as opened:
        bob = opened.top
        for part in ("COVAREP", "data", "bob"):
            bob = opened.group(bob, part)
        features = opened.dataset(bob, "features")
        with pytest.raises(DataError, match=said):
            opened.numbers(features)


def _pom_external(source: Source, folder: Path) -> None:
    with h5py.File(source.damage, "r+") as file:
        del file["d1"]
        file["d1"] = h5py.ExternalLink(str(_secret(folder)), "d1")


def test_the_same_holds_for_pom_and_for_labels(tmp_path: Path) -> None:
    source = pom(tmp_path / "pom")
    _pom_external(source, tmp_path)
    with pytest.raises(DataError, match=r"//?d1 is a link \(ExternalLink\)"):
        convert(source.path, tmp_path / "out", **source.options)

    other = csd(tmp_path / "csd")
    with h5py.File(other.path / "CMU_MOSEI_Labels.csd", "r+") as file:
        key = "All Labels/data/bob/features"
        del file[key]
        file.create_dataset(key, (1, 7), "f8", external=[(str(tmp_path / "secret.h5"), 0, 56)])
    with pytest.raises(DataError, match="bob/features is in external storage"):
        convert(other.path, tmp_path / "out", **other.options)


def test_metadata_lies_in_the_file_too(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    with h5py.File(source.path / "CMU_MOSEI_Labels.csd", "r+") as file:
        key = "All Labels/metadata/dimension names"
        del file[key]
        file[key] = h5py.ExternalLink(str(_secret(tmp_path)), "x")
    with pytest.raises(DataError, match="metadata/dimension names is a link"):
        convert(source.path, tmp_path / "out", **source.options)


def test_groups_that_hold_themselves_are_entered_once(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    with h5py.File(source.damage, "r+") as file:
        file["COVAREP/data/round"] = file["COVAREP/data"]
    data = convert(source.path, tmp_path / "out", **source.options)
    assert len(data["train"]) == 1
    with h5py.File(source.damage, "r+") as file:
        del file["COVAREP/data/bob"]
        file["COVAREP/data/bob"] = file["COVAREP"]
    with pytest.raises(DataError, match="entry 'bob' has no features"):
        convert(source.path, tmp_path / "other", **source.options)


def test_one_array_under_many_names_is_read_no_more_than_a_file_may_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "LARGEST", 1 << 20)
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        zeros = np.zeros((1 << 15, 8), np.float32)
        data = file.create_dataset("0", data=zeros, chunks=(1 << 13, 8), compression="gzip")
        for i in range(1, 99):
            file[str(i)] = data
    read = 0
    with Hdf5(path, "x") as opened, pytest.raises(DataError, match="64 times its own size"):
        for i in range(99):
            read += opened.numbers(opened.dataset(opened.top, str(i))).nbytes
    assert 1 << 20 <= read <= (1 << 20) + 64 * path.stat().st_size


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f8", "<i2", "|u1"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (5, 3)},
        {"chunks": (5, 3), "compression": "gzip"},
        {"chunks": (7, 4), "compression": "gzip", "shuffle": True},
        {"chunks": (64, 64), "maxshape": (None, None), "compression": "gzip"},
        {"chunks": (4, 11), "shuffle": True},
    ],
)
def test_what_is_intact_is_read_as_h5py_reads_it(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    values = np.random.default_rng(5).integers(0, 200, (23, 11)).astype(kind)
    path = tmp_path / "plain.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **options)
    with Hdf5(path, "x") as opened:
        read = opened.numbers(opened.dataset(opened.top, "x"))
    assert read.dtype == np.dtype(kind)
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("stored", [np.array([[b"a b"], [b"\xc3\xa4"]]), ["a b", "ä"]])
def test_texts(tmp_path: Path, stored: object) -> None:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["x"] = stored
    with Hdf5(path, "x") as opened:
        assert opened.texts(opened.dataset(opened.top, "x")) == ["a b", "ä"]


def test_many_rows_that_share_one_long_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.h5"
    rows = 20_000
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (rows,), h5py.string_dtype(), chunks=(rows,))
        file["x"][0] = "long " * 12_000
    pointer = b""
    with h5py.File(path, "r") as file:
        _, raw = file["x"].id.read_direct_chunk((0,))
        pointer = raw[:16]
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((0,), pointer * rows)
    with Hdf5(path, "x") as opened, pytest.raises(DataError, match="times its own size"):
        opened.texts(opened.dataset(opened.top, "x"))


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """In a process of its own, whose largest size is measured."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (3, 5), "f8", chunks=(3, 5), compression="gzip")
        packer = zlib.compressobj(9)
        packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(50)) + packer.flush()
        data.id.write_direct_chunk((0, 0), packed)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from emotailor.data.readers.safe.hdf5 import Hdf5\n"
        "from emotailor.errors import DataError\n"
        "with Hdf5(Path(sys.argv[1]), 'x') as opened:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    try:\n"
        "        opened.numbers(opened.dataset(opened.top, 'x'))\n"
        "    except DataError:\n"
        "        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 20 << 20
