import hashlib
import pickle
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotailor.data.readers import FORMATS, detect
from emotailor.data.readers.convert import convert, stored_labels
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, DataError, EmotailorError
from tests.data.readers.sources import (
    COUNTS,
    IDS,
    MAKERS,
    Evil,
    features,
    label_csv,
    mmsa_content,
    replace_pickle,
)

formats = pytest.mark.parametrize("name", list(MAKERS))


def refused(source: Path, output: Path, message: str, **options: object) -> DataError:
    """Convert, and check that it fails with ``message`` and leaves nothing behind."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(DataError, match=message) as caught:
        convert(source, output, **options)  # type: ignore[arg-type]
    assert sorted(output.parent.iterdir()) == before
    assert caught.value.expected
    return caught.value


def test_every_format_has_a_test_file() -> None:
    # folders of many files have trials of their own
    elsewhere = {"frames", "fet", "samples", "stored"}
    assert {*MAKERS, *elsewhere} == set(FORMATS)


@formats
def test_detected_and_converted(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path / "in" if name in ("csd", "pom") else tmp_path)
    assert detect(source.path) == name
    data = convert(source.path, tmp_path / "out", **source.options)
    assert data.card.provenance["format"] == name and len(data["train"]) >= 1
    read = {s["file"]: s["sha256"] for s in data.card.provenance["sources"]}
    if name != "table":  # there the damaged file is one of many, which are not listed
        assert read[source.damage.name] == hashlib.sha256(source.damage.read_bytes()).hexdigest()
    assert all("/" not in file for file in read)


@formats
@pytest.mark.parametrize("given_format", [True, False])
def test_missing(tmp_path: Path, name: str, given_format: bool) -> None:
    options = {"format": name} if given_format else {}
    refused(tmp_path / "absent", tmp_path / "out", "absent does not exist", **options)


@formats
def test_empty(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path)
    source.damage.write_bytes(b"")
    for options in ({}, {"format": name}):
        refused(
            source.path,
            tmp_path / "out",
            f"{source.damage.name} is empty",
            **{**source.options, **options},
        )


@formats
def test_truncated(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path)
    data = source.damage.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.97):
        source.damage.write_bytes(data[: int(share * len(data))])
        message = f"{source.damage.name}.* cannot be read"
        refused(source.path, tmp_path / "out", message, format=name, **source.options)


@formats
def test_wrong_dims(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path, wide=True)
    message = "audio.*6|entry 'bob'|audio: float32 of shape"
    refused(source.path, tmp_path / "out", message, **source.options)


@formats
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_features_without_any_number(tmp_path: Path, name: str, value: float) -> None:
    source = MAKERS[name](tmp_path, fill=value)
    message = "every value of visual and audio( and text)? is NaN or infinite|visual and audio"
    refused(source.path, tmp_path / "out", message, **source.options)


@formats
def test_padding_alone_is_no_sample(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path, fill=0.0)
    if name in ("csd", "table"):  # there a step is a word or what the user says it is
        convert(source.path, tmp_path / "out", **source.options)
    else:
        refused(source.path, tmp_path / "out", "no sample that can be used", **source.options)


@pytest.mark.parametrize("name", ["mult", "mmsa", "tailor", "npz", "table"])
def test_hostile_pickles_anywhere(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path)
    marker = tmp_path / "marker"
    hostile = pickle.dumps({"train": Evil(marker), "labels": 1})
    if name == "tailor":
        replace_pickle(source.path, hostile)
    elif name in ("npz", "table"):
        array = np.array([Evil(marker)], dtype=object)
        np.save(source.damage.with_suffix(".npy"), array, allow_pickle=True)
        if name == "npz":
            np.savez(source.path, id=array, split=array, labels=array)
    else:
        source.path.write_bytes(hostile)
    message = r"asks for \w+\.system; it was refused|no split|allow_pickle"
    refused(source.path, tmp_path / "out", message, format=name, **source.options)
    refused(source.path, tmp_path / "out", message + "|known format", **source.options)
    assert not marker.exists()


@formats
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"\x80\x04", b"PK\x03\x04", b"]("]))
@settings(max_examples=12, deadline=None)
def test_random_bytes_raise_nothing_else(name: str, data: bytes, head: bytes) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = MAKERS[name](Path(folder))
        source.damage.write_bytes(head + data)
        out = Path(folder) / "out"
        for options in ({}, {"format": name}):
            with pytest.raises(EmotailorError):
                convert(source.path, out, **{**source.options, **options})
        assert not out.exists()
        assert not [p for p in Path(folder).iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize("name", ["tailor", "mult", "npz"])
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_a_changed_byte_raises_nothing_else(name: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = MAKERS[name](Path(folder))
        raw = bytearray(source.path.read_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        source.path.write_bytes(bytes(raw))
        try:
            convert(source.path, Path(folder) / "out", format=name, **source.options)
        except EmotailorError:
            assert not (Path(folder) / "out").exists()


@formats
def test_an_existing_output_is_refused_before_reading(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    refused(tmp_path / "absent", tmp_path / "out", "out already exists", format=name)
    message = "out is no data set, and not empty: it holds 'thesis.txt'"
    refused(tmp_path / "absent", tmp_path / "out", message, format=name, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_overwriting_keeps_the_old_data_until_the_new_are_complete(tmp_path: Path) -> None:
    source = MAKERS["tailor"](tmp_path)
    old = convert(source.path, tmp_path / "out")
    refused(source.path, tmp_path / "out", "out already exists")
    data = source.path.read_bytes()
    source.path.write_bytes(data[:-50])
    refused(source.path, tmp_path / "out", "cannot be read", overwrite=True)
    assert (tmp_path / "out" / "dataset.json").is_file()
    source.path.write_bytes(data)
    new = convert(source.path, tmp_path / "out", overwrite=True)
    assert new.card == old.card


def test_limit_and_name(tmp_path: Path) -> None:
    for name, maker in MAKERS.items():
        (tmp_path / name).mkdir()
        source = maker(tmp_path / name)
        data = convert(source.path, tmp_path / f"{name}-out", limit=1, name="few", **source.options)
        assert {len(s) for s in data.splits.values()} == {1} and data.card.name == "few"
        assert "limited to 1 samples per split" in data.card.repairs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "excel"}, "format 'excel'.*\n.*tailor, mult"),
        ({"label_rule": "="}, "label_rule '='"),
        ({"label_threshold": float("nan")}, "label_threshold nan"),
        ({"limit": 0}, "limit 0"),
        ({"labels": "x.csv"}, r"tailor has no use for labels\n.*align, label_names"),
        ({"label_threshold": 0.5, "split_by_hash": True}, "for label_threshold, split_by_hash"),
        ({"folds": "f.csv", "split_by_hash": True}, "both folds and split_by_hash"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    source = MAKERS["tailor"](tmp_path)
    with pytest.raises(ConfigError, match=message):
        convert(source.path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_what_is_not_known_lists_what_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DataError, match=r"no known format\n.*tailor: train_valid_test.*pom: ") as e:
        detect(path)
    assert e.value.fix == "name the format with --format"
    with pytest.raises(DataError, match="no known format"):
        detect(tmp_path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n...")
    with pytest.raises(DataError, match="one HDF5 file"):
        detect(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="no known format"):
        detect(path)


def test_a_label_file_that_is_missing(tmp_path: Path) -> None:
    source = MAKERS["mmsa"](tmp_path)
    refused(source.path, tmp_path / "out", "gone.csv does not exist", labels=tmp_path / "gone.csv")


def test_six_emotions_get_the_papers_order_and_others_keep_theirs() -> None:
    assert stored_labels(["happy", "sad", "anger", "surprise", "disgust", "fear"]) == (
        ("angry", "disgust", "fear", "happy", "sad", "surprise"),
        [2, 4, 5, 0, 1, 3],
    )
    assert stored_labels(["Surprised", "fear", "calm"]) == (("surprise", "fear", "calm"), [0, 1, 2])


def test_a_video_in_two_splits_is_noted(tmp_path: Path) -> None:
    content = mmsa_content()
    # the clips of cy are in test; one more of them in valid, whose bob is not labelled any more
    content["valid"]["id"], content["test"]["id"] = ["cy$_$0"], ["cy$_$1", "zoe$_$1"]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    data = convert(path, tmp_path / "out", labels=label_csv(tmp_path / "l.csv"))
    assert "1 videos have segments in more than one split" in data.card.repairs


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_what_goes_in_comes_out_of_a_padded_pickle(data: st.DataObject) -> None:
    """Random lengths and values, padded in front or behind, come back without the padding."""
    content = mmsa_content()
    wanted: dict[tuple[str, int, Modality], Any] = {}
    keys: dict[str, Modality] = {"vision": "visual", "audio": "audio", "text": "text"}
    for split, count in COUNTS.items():
        for i in range(count):
            first = data.draw(st.integers(0, 4))
            last = data.draw(st.integers(5, 10))
            for key, m in keys.items():
                array = content[split][key][i]
                array[:first], array[last + 1 :] = 0, 0
                wanted[split, i, m] = features(m, count)[i, first : last + 1]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.pkl"
        path.write_bytes(pickle.dumps(content, data.draw(st.integers(2, 5))))
        labels = label_csv(Path(folder) / "l.csv")
        stored = convert(path, Path(folder) / "out", labels=labels)
        for (split, i, m), values in wanted.items():
            np.testing.assert_array_equal(stored[split].sequence(m, i), values)
            assert stored[split].ids[i].startswith(IDS[split][i])
