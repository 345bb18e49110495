"""Tables with one file for all rows, tables joined by id, and columns of names as features."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import emotailor
from emotailor.data.checker import DataWarning
from emotailor.data.extraction import check_extraction
from emotailor.data.readers import read_samples
from emotailor.data.readers.convert import convert
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, DataError, ModelError
from tests.encoders.tiny import Lengths
from tests.runs.runs import run_cli

LENGTHS = (3, 0, 5, 1)
OFFSETS = np.array([0, 3, 3, 8, 9])
IDS = ("a", "b", "c", "d")
WORDS = ("so", "very", "happy", "I", "do", "not", "know", "it", "é")


def values(dtype: Any = np.float16, width: int = 2) -> np.ndarray:
    """Step t of all steps holds 10 t, 10 t + 1, ..."""
    steps = 10 * np.arange(9)[:, None] + np.arange(width)
    return steps.astype(dtype)


def csv(folder: Path, *, labels: str = "1000") -> Path:
    path = folder / "samples.csv"
    rows = [f"{name},train,{held}" for name, held in zip(IDS, labels, strict=True)]
    path.write_text("\n".join(["id,split,happy", *rows]) + "\n")
    return path


def end_to_end(texts: tuple[str, ...], name: str) -> dict[str, np.ndarray]:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    letters = np.frombuffer(b"".join(encoded), np.uint8)
    return {f"{name}.bytes": letters, f"{name}.offsets": ends}


def as_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    whole: dict[str, Any] = {**arrays}
    np.savez(path.with_suffix(".npz"), **whole)
    return path.with_suffix(".npz")


def as_packed(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    whole: dict[str, Any] = {**arrays}
    np.savez_compressed(path.with_suffix(".npz"), **whole)
    return path.with_suffix(".npz")


def as_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    save_file(arrays, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


Save = Callable[[Path, dict[str, np.ndarray]], Path]
EACH = pytest.mark.parametrize("save", [as_npz, as_packed, as_safetensors])


@EACH
@pytest.mark.parametrize("prefix", ["", "text."])
def test_one_file_for_all_rows(tmp_path: Path, save: Save, prefix: str) -> None:
    arrays = {"values": values(), "offsets": OFFSETS, **end_to_end(WORDS, "words")}
    save(tmp_path / "text", {f"{prefix}{name}": array for name, array in arrays.items()})
    csv(tmp_path)
    data = convert(tmp_path, tmp_path / "out")
    split = data["train"]
    assert split.ids == ["a", "c", "d"] and data.aligned  # b has no step, and one modality
    assert data.card.dtypes == {"text": "float16"}
    np.testing.assert_array_equal(split.sequence("text", 1), values()[3:8])
    assert split.sequence("text", 1).dtype == np.float16
    assert [sample.words for sample in split] == [list(WORDS[:3]), list(WORDS[3:8]), ["é"]]
    assert "dropped 1 sample without a modality: b" in data.card.repairs
    assert not [line for line in data.card.repairs if "unaligned" in line or "not used" in line]


@EACH
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, ">f2", np.bool_])
def test_other_numbers_are_stored_as_float32(tmp_path: Path, save: Save, dtype: Any) -> None:
    big_endian = np.dtype(dtype).byteorder == ">"
    if save is as_safetensors and big_endian:
        pytest.skip("safetensors is little-endian")
    save(tmp_path / "text", {"values": values(dtype), "offsets": OFFSETS})
    data = convert(csv(tmp_path), tmp_path / "out")
    expected = "float16" if big_endian else "float32"
    assert data.card.dtype_of("text") == expected
    wanted = values(dtype)[3:8].astype(expected)
    np.testing.assert_array_equal(data["train"].sequence("text", 1), wanted)


@EACH
def test_sequences_are_found_by_id_in_any_order(tmp_path: Path, save: Save) -> None:
    order = ("d", "x", "c", "a")
    lengths = {"a": slice(0, 3), "c": slice(3, 8), "d": slice(8, 9), "x": slice(0, 2)}
    laid = np.concatenate([values()[lengths[name]] for name in order])
    ends = np.cumsum([0, *(lengths[name].stop - lengths[name].start for name in order)])
    ids = end_to_end(order, "id") if save is as_safetensors else {"id": np.array(order)}
    file = save(tmp_path / "vectors", {"values": laid, "offsets": ends, **ids})
    data = convert(csv(tmp_path), tmp_path / "out", features={"text": file})
    assert data["train"].ids == ["a", "c", "d"]
    np.testing.assert_array_equal(data["train"].sequence("text", 0), values()[:3])
    np.testing.assert_array_equal(data["train"].sequence("text", 1), values()[3:8])
    assert f"{file.name}: 1 sequences of no row: x" in data.card.repairs
    assert data.card.provenance["sources"][1]["file"] == file.name


def test_missing_steps_and_alignment_are_found_out(tmp_path: Path) -> None:
    missing = np.array([0, 1, 0, 0, 0, 0, 0, 1, 0], np.uint8)
    as_npz(tmp_path / "text", {"values": values(), "offsets": OFFSETS})
    arrays = {"values": values(np.float32, 3), "offsets": OFFSETS, "missing": missing}
    as_safetensors(tmp_path / "audio", arrays)
    data = convert(csv(tmp_path), tmp_path / "out")
    assert data.aligned and data.dims == {"audio": 3, "text": 2}
    assert data["train"][1].missing["audio"].tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(data["train"].sequence("audio", 0)[1], [0, 0, 0])

    # of other lengths
    as_npz(tmp_path / "text", {"values": values(), "offsets": np.array([0, 3, 3, 7, 9])})
    del arrays["missing"]
    as_safetensors(tmp_path / "audio", arrays)
    other = convert(csv(tmp_path), tmp_path / "other")
    assert not other.aligned
    with pytest.raises(DataError, match="lengths"):
        convert(csv(tmp_path), tmp_path / "insisted", align=True)


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    broken = values(np.float64)
    broken[4, 1] = np.nan
    broken[5, 1] = 1e300
    as_npz(tmp_path / "text", {"values": broken, "offsets": OFFSETS})
    with pytest.warns(DataWarning, match=r"2 non-finite values in 1 samples.*feature 1 \(2\)"):
        data = convert(csv(tmp_path), tmp_path / "out")
    assert data["train"].sequence("text", 1)[:, 1].tolist() == [31, 0, 0, 61, 71]

    as_npz(tmp_path / "text", {"values": np.full((9, 2), np.nan), "offsets": OFFSETS})
    with pytest.raises(DataError, match="every value of text is NaN"):
        convert(csv(tmp_path), tmp_path / "nothing")


@EACH
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"offsets": np.array([0, 3, 2, 8, 9])}, "offsets falls"),
        ({"offsets": np.array([0, 3, 3, 8, 10])}, "ends with 10, expected 9"),
        ({"offsets": np.array([0, 3, 3, 8, 8])}, "ends with 8, expected 9"),
        ({"offsets": np.array([1, 3, 3, 8, 9])}, "does not begin with 0"),
        ({"offsets": np.array([0, 3, 3, 9])}, "3 sequences, and the table 4 rows"),
        ({"offsets": np.array([0, 3, 3, 8, 9, 9])}, "5 sequences, and the table 4 rows"),
        ({"offsets": np.array([0.0, 3, 3, 8, 9])}, "offsets is float64"),
        ({"offsets": np.array([[0, 9]])}, r"offsets is int64 of shape \(1, 2\)"),
        ({"offsets": np.array([0, -(2**40), 3, 8, 9])}, "offsets falls"),
        ({"values": values().ravel()}, r"values is float16 of shape \(18,\)"),
        ({"values": np.zeros((9, 0), np.float16)}, r"shape \(9, 0\)"),
        ({"values": np.zeros((9, 2, 1))}, r"shape \(9, 2, 1\)"),
        ({"values": np.array(1.5)}, r"of shape \(\)"),
        ({"missing": np.zeros(8, np.uint8)}, r"missing is uint8 of shape \(8,\)"),
        ({"missing": np.zeros(9)}, "missing is float64"),
        (end_to_end(("a", "b", "c", "a"), "id"), "holds 'a' twice"),
        (end_to_end(("a", "b", "c"), "id"), r"id.offsets has the shape \(4,\)"),
        (end_to_end(WORDS[:8], "words"), r"words.offsets has the shape \(9,\)"),
        (
            {
                "words.bytes": np.frombuffer(b"abc\xff", np.uint8),
                "words.offsets": np.array([0] * 9 + [4]),
            },
            "not UTF-8",
        ),
        ({"words.bytes": np.frombuffer(b"abc", np.uint8)}, "without words.offsets"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(
    tmp_path: Path, save: Save, arrays: dict[str, np.ndarray], message: str
) -> None:
    save(tmp_path / "text", {"values": values(), "offsets": OFFSETS, **arrays})
    with pytest.raises(DataError, match=message):
        convert(csv(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@EACH
def test_a_file_without_values_or_offsets(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "text", {"offsets": OFFSETS})
    with pytest.raises(DataError, match="holds offsets"):
        convert(csv(tmp_path), tmp_path / "out")
    save(tmp_path / "text", {"values": values()})
    with pytest.raises(DataError, match="holds values"):
        convert(csv(tmp_path), tmp_path / "out")


@EACH
def test_damaged_files(tmp_path: Path, save: Save) -> None:
    many = np.tile(values(), (1000, 1))
    ends = np.array([0, 3, 3, 8, 9000])
    file = save(tmp_path / "text", {"values": many, "offsets": ends})
    content = file.read_bytes()
    for kept in (0, 7, 100, len(content) - 1):
        file.write_bytes(content[:kept])
        with pytest.raises(DataError):
            convert(csv(tmp_path), tmp_path / "out")

    # a flipped bit is seen where there is a checksum
    if save is not as_safetensors:
        middle = len(content) // 3
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(DataError, match="cannot be read"):
            convert(csv(tmp_path), tmp_path / "out")


def test_pickled_values_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", values=np.array([[{}]], object), offsets=OFFSETS)
    with pytest.raises(DataError, match="Python objects"):
        convert(csv(tmp_path), tmp_path / "out")


def test_two_files_for_one_modality_are_refused(tmp_path: Path) -> None:
    arrays = {"values": values(), "offsets": OFFSETS}
    as_npz(tmp_path / "text", arrays)
    as_safetensors(tmp_path / "text", arrays)
    with pytest.raises(DataError, match=r"text.npz and text.safetensors"):
        convert(csv(tmp_path), tmp_path / "out")


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a file of 40 MB, of which nothing but one sequence after the other is in memory
    import tracemalloc

    steps = np.zeros((20_000, 1000), np.float16)
    ends = np.arange(0, 20_001, 100)
    rows = "\n".join(f"s{i},train,{i % 2}" for i in range(200))
    (tmp_path / "samples.csv").write_text(f"id,split,happy\n{rows}\n")
    for save in (as_npz, as_safetensors):
        file = save(tmp_path / "vectors", {"values": steps, "offsets": ends})
        tracemalloc.start()
        reading = read_samples_of(tmp_path / "samples.csv", file)
        for _, sample in reading.samples:
            assert sample.sequences["text"].shape == (100, 1000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * 2**20


def read_samples_of(table: Path, file: Path) -> emotailor.Reading:
    from emotailor.data.readers import ConvertOptions, find_format, open_source

    return open_source(table, find_format("table"), ConvertOptions(features={"text": file}))


# ---------------------------------------------------------------------- ids, joined tables, flags


def segments(folder: Path) -> Path:
    path = folder / "segments.csv"
    path.write_text(
        "id,segment,split,anger,happy,text\n"
        "v,0,train,0.3,0,a b c\nv,1,train,0,0,\nw,0,valid,0,2,d e f g h\nx,7,test,0,0,i\n"
    )
    as_safetensors(folder / "text", {"values": values(), "offsets": OFFSETS})
    return path


def units(folder: Path, more: str = "") -> Path:
    path = folder / "units.csv"
    path.write_text(
        "id,segment,split,aus\n"
        "x,7,test,\nw,0,valid,AU12 AU04\nv,0,train,\"AU04,AU06\"\nz,3,train,AU99\n" + more
    )  # fmt: skip
    return path


def test_a_column_of_names_is_a_step_repeated_at_each_word(tmp_path: Path) -> None:
    data = convert(
        segments(tmp_path), tmp_path / "out", label_names=["happy", "anger"],
        join=[units(tmp_path)], flags={"visual": "aus"},
    )  # fmt: skip
    assert data.dims == {"visual": 3, "text": 2} and data.aligned
    assert data.label_names == ("happy", "angry")
    assert {name: split.ids for name, split in data.splits.items()} == {
        "train": ["v[0]"],
        "valid": ["w[0]"],
        "test": ["x[7]"],
    }
    assert data.videos("train") == ["v"]
    assert [split.labels.tolist() for split in data.splits.values()] == [
        [[0, 1]],
        [[1, 0]],
        [[0, 0]],
    ]

    # AU04, AU06, AU12
    assert data["train"].sequence("visual", 0).tolist() == [[1, 1, 0]] * 3
    assert data["valid"].sequence("visual", 0).tolist() == [[1, 0, 1]] * 5
    assert data["test"].sequence("visual", 0).tolist() == [[0, 0, 0]]  # known, and none
    extraction = data.card.extraction["visual"]
    assert extraction.settings == {"names": ["AU04", "AU06", "AU12"]}
    notes = "\n".join(data.card.repairs)
    assert "ids are made of id and segment" in notes and "v[0]" in notes
    assert "units.csv: 1 rows of no sample: z[3]" in notes
    assert "dropped 1 sample without a modality: v[1]" in notes


def test_a_row_that_the_other_table_lacks_lacks_the_modality(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(
        "id,split,happy\na,train,1\nb,train,0\nc,train,0\nd,train,0\n"
    )
    as_npz(tmp_path / "text", {"values": values(), "offsets": OFFSETS})
    (tmp_path / "more.csv").write_text("id,names,split\na,x,train\nc,y y,valid\n")
    data = convert(
        tmp_path / "samples.csv", tmp_path / "out", join=[tmp_path / "more.csv"],
        flags={"audio": "names"},
    )  # fmt: skip
    assert data["train"].lengths("audio").tolist() == [3, 5, 0]
    assert data["train"].sequence("audio", 1).tolist() == [[0, 1]] * 5
    notes = "\n".join(data.card.repairs)
    assert "audio is missing in 1 of 3 samples" in notes
    assert "more.csv: 1 rows that say something else of a sample: c" in notes
    assert list(data.splits) == ["train"]  # the table decides


def test_names_of_a_trained_model_are_kept(tmp_path: Path) -> None:
    source = segments(tmp_path)
    data = convert(
        source, tmp_path / "out", label_names=["happy"], join=[units(tmp_path)],
        flags={"visual": "aus"}, flag_names=["AU12", "AU01", "AU04"],
    )  # fmt: skip
    assert data["valid"].sequence("visual", 0)[0].tolist() == [1, 0, 1]
    assert data.card.extraction["visual"].settings["names"] == ["AU12", "AU01", "AU04"]
    assert any("names in aus that are no feature: AU06" in line for line in data.card.repairs)

    # as many features, and other names
    other = convert(
        source, tmp_path / "other", label_names=["happy"], join=[units(tmp_path)],
        flags={"visual": "aus"},
    )  # fmt: skip
    assert other.dims == data.dims
    with pytest.raises(ModelError, match="visual of other"):
        check_extraction(other.card.extraction, data.card.extraction, data.dims, "other")


def test_names_beside_text_that_is_encoded(tmp_path: Path) -> None:
    source = segments(tmp_path)
    (tmp_path / "text.safetensors").unlink()
    data = convert(
        source, tmp_path / "out", encoder=Lengths(), label_names=["happy"],
        join=[units(tmp_path)], flags={"visual": "aus"},
    )  # fmt: skip
    assert data.aligned and data.dims == {"visual": 3, "text": 2}
    assert data["valid"].sequence("text", 0)[:, 0].tolist() == [1] * 5
    assert data["valid"].sequence("visual", 0).tolist() == [[1, 0, 1]] * 5
    assert set(data.card.extraction) == {"visual", "text"}
    assert data["train"].ids == ["v[0]"] and data["train"][0].words == ["a", "b", "c"]

    # one vector for each text
    whole = convert(
        source, tmp_path / "whole", encoder=Lengths("sentence"), pooling="sentence",
        label_names=["happy"], join=[units(tmp_path)], flags={"visual": "aus"},
    )  # fmt: skip
    assert whole.aligned and whole["valid"].sequence("visual", 0).tolist() == [[1, 0, 1]]


def test_flags_alone_are_one_step(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("id,split,happy,names\na,train,1,x y\nb,test,0,\n")
    data = convert(tmp_path / "samples.csv", tmp_path / "out", flags={"visual": "names"})
    assert data.aligned and data["train"].sequence("visual", 0).tolist() == [[1, 1]]
    assert data["test"].sequence("visual", 0).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("more", "main", "message"),
    [
        ("v,0,train,AU01\n", "", "units.csv holds 'v\\[0\\]' twice"),
        ("", "v,0,train,0,0,again\n", "segments.csv holds 'v\\[0\\]' twice"),
        ("v,x,train,AU01\n", "", "segment 'x'"),
        ("v,-1,train,AU01\n", "", "segment '-1'"),
    ],
)
def test_joined_tables_that_are_wrong(tmp_path: Path, more: str, main: str, message: str) -> None:
    source = segments(tmp_path)
    source.write_text(source.read_text() + main)
    other = units(tmp_path, more + "v,2,train,\n")
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out", join=[other], flags={"visual": "aus"})


def test_tables_without_a_common_id(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("id,names\nq,x\n")
    with pytest.raises(DataError, match="no id of"):
        convert(segments(tmp_path), tmp_path / "out", join=[other])
    other.write_text("key,names\nq,x\n")
    with pytest.raises(DataError, match="has the columns key, names"):
        convert(segments(tmp_path), tmp_path / "out", join=[other])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flags": {"visual": "face"}}, "has no column 'face'"),
        ({"flags": {"visual": "empty"}}, "has 0 different names"),
        ({"flags": {"visual": "long"}}, "has 1003 different names"),
        ({"flags": {"visual": "empty"}, "flag_names": ["a", "a"]}, "distinct"),
    ],
)
def test_columns_that_are_no_names(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    text = " ".join(f"n{i}" for i in range(1003))
    (tmp_path / "samples.csv").write_text(f"id,split,happy,empty,long\na,train,1,,{text}\n")
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "samples.csv", tmp_path / "out", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"flag_names": ["x"]}, {"flags": {"text": "a", "audio": "b"}, "flag_names": ["x"]},
        {"flags": {"text": "a"}, "features": {"text": "b.npz"}},
    ],
    ids=["no flags", "two columns", "both"],
)  # fmt: skip
def test_options_of_tables_that_make_no_sense(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        convert(segments(tmp_path), tmp_path / "out", **options)


def test_other_formats_have_no_use_for_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", id=np.array(["a"]), text=np.ones((1, 2)))
    flags: dict[Modality, str] = {"visual": "aus"}
    with pytest.raises(ConfigError, match="the format npz has no use for flags"):
        convert(tmp_path / "one.npz", tmp_path / "out", flags=flags)


def test_words_of_a_column(tmp_path: Path) -> None:
    as_npz(tmp_path / "text", {"values": values(), "offsets": OFFSETS})
    (tmp_path / "samples.csv").write_text(
        "id,split,happy,words\na,train,1,so very  happy\nb,train,0,\nc,train,0,not five\n"
        "d,train,0,é\n"
    )
    data = convert(tmp_path / "samples.csv", tmp_path / "out")
    assert [sample.words for sample in data["train"]] == [["so", "very", "happy"], None, ["é"]]
    notes = data.card.repairs
    assert "samples.csv: 1 rows with another number of words than steps: c" in notes


def test_one_modality_in_a_folder_is_aligned(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for name, steps in (("a", 3), ("b", 5)):
        np.save(tmp_path / "text" / f"{name}.npy", np.ones((steps, 2)))
    assert read_samples(tmp_path).aligned
    (tmp_path / "audio").mkdir()
    np.save(tmp_path / "audio" / "a.npy", np.ones((4, 2)))
    assert not read_samples(tmp_path).aligned


def test_the_command(tmp_path: Path) -> None:
    file = as_safetensors(tmp_path / "vectors", {"values": values(), "offsets": OFFSETS})
    source = segments(tmp_path)
    (tmp_path / "text.safetensors").unlink()
    result = run_cli(
        "data", "convert", str(source), "--out", str(tmp_path / "out"),
        "--features", f"text={file}",
        "--join", str(units(tmp_path)), "--flags", "visual=aus", "--label-names", "anger,happy",
        "--max-steps", "4", "--longer", "split",
    )  # fmt: skip
    assert result.code == 0, result.out + result.err
    data = emotailor.load_dataset(tmp_path / "out")
    assert data["valid"].ids == ["w[0]~1", "w[0]~2"] and data.videos("valid") == ["w", "w"]
    assert data["valid"].lengths("visual").tolist() == [2, 3]
    assert "1 sample of more than 4 steps: split into 2 parts" in (result.out + result.err).replace(
        "\n", " "
    )

    for wrong in ("face=x.npz", "text", "text="):
        again = run_cli(
            "data", "convert", str(source), "--out", str(tmp_path / "no"), "--features", wrong
        )
        assert again.code == 3 and not (tmp_path / "no").exists()


# ---------------------------------------------------------------------- real data


def test_real_transcripts_with_action_units(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "mosei_text"
    if not folder.is_dir():
        pytest.skip("no transcripts of CMU-MOSEI")

    for name, rows in (("mosei_text.csv", 1 + 400), ("mosei_au.csv", 1 + 300)):
        with (folder / name).open(encoding="utf-8") as whole:
            (tmp_path / name).write_text("".join(islice(whole, rows)), encoding="utf-8")
    data = convert(
        tmp_path / "mosei_text.csv", tmp_path / "out", encoder=Lengths(), max_steps=60,
        label_names=["happy", "sad", "anger", "surprise", "disgust", "fear"],
        join=[tmp_path / "mosei_au.csv"], flags={"visual": "aus"},
    )  # fmt: skip
    assert data.aligned and data.dims == {"visual": 16, "text": 2}
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 222, "valid": 23, "test": 64}
    assert len(set(data.videos("train"))) < 60
    assert "read 400 samples: 309 stored, 91 dropped" in data.card.repairs
    assert "visual is missing in 13 of 309 samples" in data.card.repairs
    names = data.card.extraction["visual"].settings["names"]
    assert (names[0], names[-1]) == ("AU01", "AU45")
    assert any(line.startswith("1 sample of more than 60 steps") for line in data.card.repairs)

    first = data["valid"].sample(data["valid"].index_of("--qXJuDtHPw[0]"))
    assert first.words is not None and first.words[:3] == ["I", "see", "that"]
    units = [name for name, seen in zip(names, first.sequences["visual"][-1], strict=True) if seen]
    assert units == ["AU01", "AU02", "AU04", "AU05", "AU10", "AU15", "AU25", "AU45"]
