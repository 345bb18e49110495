"""What was stored is read as it was written, or refused."""

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor import verified
from emotailor.errors import DataError, ModelError
from emotailor.files import sha256_of, write_json
from emotailor.verified import (
    HASH_KEY,
    TRIES,
    content_of,
    read_json,
    read_settled,
    verify_file,
    with_hash,
)

VALUES: dict[str, Any] = {
    "version": 2,
    "ü": [0.1, -0.0, 1e22, None, True, "a\u2028b"],
    "inner": {"b": 1, "a": {}},
}


def read(file: Path) -> dict[str, Any]:
    return read_json(file, fix="write it again")


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, VALUES)
    found = read(file)
    assert json.dumps(found) == json.dumps(VALUES)  # the order, too
    assert list(json.loads(file.read_text(encoding="utf-8")))[-1] == HASH_KEY

    # what was read is written to the same bytes, and an old hash is not kept
    before = file.read_bytes()
    write_json(file, {**found, HASH_KEY: "0" * 64})
    assert file.read_bytes() == before


def test_every_flipped_byte_is_found_or_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, VALUES)
    content = file.read_bytes()
    harmless = 0
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            file.write_bytes(flipped)
            try:
                found = read(file)
            except DataError as error:
                assert str(file) in error.found
                continue
            assert json.dumps(found) == json.dumps(VALUES)
            harmless += 1
    assert 0 < harmless < len(content)  # one kind of white space for another


def test_a_file_without_a_hash_is_of_an_earlier_version(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for old in ({"version": 1}, {"schema_version": 1, "a": 2}, {"a": 2}):
        file.write_text(json.dumps(old))
        assert read(file) == old

    new: dict[str, Any]
    for new in ({"version": 2}, {"schema_version": 3}, {"version": "1"}, {"version": None}):
        file.write_text(json.dumps(new))
        with pytest.raises(DataError, match=HASH_KEY):
            read(file)

    file.write_text("{}")
    with pytest.raises(DataError, match=HASH_KEY):
        read_json(file, fix="", hashed_since=1)


DEEP = "[" * 100_000 + "]" * 100_000
CONTENTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Expecting value"),
    "half": (b'{"a": ', "Expecting value"),
    "no UTF-8": (b'{"a": "\xff"}', "utf-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "utf-8"),
    "a list": (b"[1]", "a list"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "infinity": (b'{"a": 1e999}', "not JSON compliant"),
    "half a character": (b'{"a": "\\ud800"}', "surrogates"),
    "digits": (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
    "deep": (f'{{"a": {DEEP}}}'.encode(), "recursion"),
    "deeper than ours": (f'{{"a": {"[" * 64}{"]" * 64}}}'.encode(), "64 levels"),
    "another hash": (b'{"a": 1, "content_sha256": "0"}', HASH_KEY),
    "no hash": (b'{"a": 1, "content_sha256": null}', HASH_KEY),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_file_of_ours_is_one_error(tmp_path: Path, name: str) -> None:
    content, why = CONTENTS[name]
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=why) as caught:
        read_json(file, fix="write it again", error=ModelError, expected="ours")
    assert str(file) in caught.value.found
    assert (caught.value.fix, caught.value.expected) == ("write it again", "ours")


def test_what_is_no_file_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(DataError, match="No such file"):
        read(file)
    with pytest.raises(DataError, match="No such file"):
        verify_file(file, "", fix="")

    if hasattr(os, "mkfifo"):
        os.mkfifo(file)
        with pytest.raises(DataError, match="not a regular file"):
            read(file)
        with pytest.raises(DataError, match="not a regular file"):
            verify_file(file, "", fix="")
        file.unlink()

    write_json(file, VALUES)
    monkeypatch.setattr(verified, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="bytes"):
        read(file)


def test_the_hash_of_a_table_given_by_hand() -> None:
    assert content_of({"a": 1}) == {"a": 1}
    assert content_of(with_hash({"a": 1})) == {"a": 1}
    with pytest.raises(ValueError, match=HASH_KEY):
        content_of({**with_hash({"a": 1}), "a": 2})


# ---------------------------------------------------------------------- other files


def test_a_file_is_hashed_once_unless_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"seven")
    digest = sha256_of(file)
    hashed = []
    original = hashlib.file_digest

    def counted(stream: Any, name: str) -> Any:
        hashed.append(stream.name)
        return original(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    threads = [threading.Thread(target=verify_file, args=(file, digest), kwargs={"fix": ""})
               for _ in range(5)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verify_file(file, digest, fix="")
    assert len(hashed) == 1

    with pytest.raises(ModelError, match=r"x\.bin .*SHA-256 differs") as caught:
        verify_file(file, "0" * 64, fix="copy it again", error=ModelError)
    assert caught.value.fix == "copy it again"
    assert len(hashed) == 1

    file.write_bytes(b"eight")  # of the same length
    os.utime(file, ns=(0, 1))
    with pytest.raises(DataError, match="SHA-256 differs"):
        verify_file(file, digest, fix="")
    assert len(hashed) == 2


def test_random_flips_in_a_large_file_are_found(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(10_007)
    file = tmp_path / "x.bin"
    file.write_bytes(content)
    digest = sha256_of(file)
    for number, at in enumerate(np.random.default_rng(1).integers(0, len(content), 50)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (number % 8)
        file.write_bytes(flipped)
        os.utime(file, ns=(0, number))
        with pytest.raises(DataError, match="SHA-256 differs"):
            verify_file(file, digest, fix="")


@pytest.mark.parametrize(("changes", "calls"), [(0, 1), (1, 2), (TRIES, TRIES)])
def test_what_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, changes: int, calls: int
) -> None:
    index = tmp_path / "index.json"
    write_json(index, {"number": 0})
    found = []

    def read() -> None:
        found.append(read_json(index, fix="")["number"])
        if len(found) <= changes:
            write_json(index, {"number": len(found)})
        raise DataError(f"what {found[-1]} names is gone")

    with pytest.raises(DataError, match=f"what {calls - 1} names"):
        read_settled(index, read)
    assert found == list(range(calls))


def test_what_is_read_at_last_is_what_is_there(tmp_path: Path) -> None:
    """A file that an index names is gone, and the index is another one."""
    index = tmp_path / "index.json"

    def write(number: int) -> None:
        (tmp_path / f"{number}.txt").write_text(str(number))
        write_json(index, {"file": f"{number}.txt"})
        (tmp_path / f"{number - 1}.txt").unlink(missing_ok=True)

    def read() -> str:
        name = read_json(index, fix="")["file"]
        if name < "3.txt":
            write(int(name[0]) + 1)
        return (tmp_path / name).read_text()

    write(1)
    assert read_settled(index, read) == "3"
