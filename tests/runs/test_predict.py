"""Samples to predict: what is read, what is refused, and what a reader sees."""

import csv
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from emotailor.data.readers.media import media_of
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.errors import ConfigError, DataError, ModelError, TooLongError
from emotailor.runs.job import carry_out, failure_lines
from emotailor.runs.outputs import OutFile, csv_cells, json_line, render_predictions, text_line
from emotailor.runs.sources import open_sources
from emotailor.serving import samples as module
from emotailor.serving.prediction import Explanation, Failure, Prediction, compare
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import LoadedModel
from emotailor.watch import Watch
from tests.helpers import DIMS, LABELS, random_samples
from tests.serving.test_predictor import Sum, card, summing


def opened(path: Path, **options: Any) -> list[Sample]:
    return opened_all(path, **options)


def opened_all(*paths: Path, **options: Any) -> list[Sample]:
    """The samples of sources, in which nothing may be wrong."""
    items = list(open_sources(paths, **options).items)
    samples = [item for item in items if isinstance(item, Sample)]
    assert len(samples) == len(items)
    return samples


def ids(samples: list[Sample]) -> list[str]:
    return [s.id for s in samples]


def test_samples_of_a_data_set(data: Path) -> None:
    assert ids(opened(data)) == [f"test{i}[0]" for i in range(7)]
    assert len(opened(data, split="train")) == 23
    assert len(opened(data, split="all")) == 41
    assert ids(opened(data, limit=2)) == ["test0[0]", "test1[0]"]
    assert ids(opened(data, ids=["test5[0]", "test2[0]"])) == ["test5[0]", "test2[0]"]
    assert ids(opened(data, ids=["test5[0]", "test2[0]"], limit=1)) == ["test5[0]"]
    assert ids(opened(data, split="all", ids=["test5[0]", "train2[0]"])) == [
        "test5[0]", "train2[0]",
    ]  # fmt: skip
    assert len(opened(data, limit=99)) == 7


def test_how_many_samples_there_are_is_known_before_they_are_read(data: Path) -> None:
    def count(**options: Any) -> int | None:
        return open_sources([data], **options).count

    assert (count(), count(limit=3), count(limit=99), count(split="all")) == (7, 3, 7, 41)
    assert open_sources([data, data], split="valid").count == 22
    notes = list(open_sources([data]).notes)
    assert len(notes) == 1
    assert "7 of its 41" in notes[0]
    assert "--split all" in notes[0]
    assert list(open_sources([data], split="test").notes) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, r"no split 'tset'[\s\S]*train, valid, test"),
        ({"ids": ["test1[0]", "nobody"]}, r"no sample 'nobody' in split 'test'[\s\S]*7 ids"),
        ({"ids": ["train1[0]"]}, "no sample 'train1"),
    ],
)
def test_what_a_data_set_does_not_have(data: Path, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(data, **options)


def test_a_data_set_without_a_test_split_is_taken_whole(tmp_path: Path) -> None:
    splits = {"one": random_samples(3, prefix="a"), "two": random_samples(2, prefix="b")}
    write_dataset(tmp_path / "d", splits, name="d", label_names=LABELS, dims=DIMS, aligned=True)
    found = opened(tmp_path / "d")
    assert ids(found) == ["a0[0]", "a1[0]", "a2[0]", "b0[0]", "b1[0]"]
    assert [s.about["source"] for s in found][2:4] == [
        f"{tmp_path / 'd'}:one", f"{tmp_path / 'd'}:two",
    ]  # fmt: skip


def test_an_npz_file_is_one_sample(tmp_path: Path) -> None:
    file = tmp_path / "my clip é.NPZ"
    text = np.arange(22, dtype=np.float64).reshape(2, 11)
    with file.open("wb") as stream:
        np.savez(stream, text=text, visual=np.ones((2, 5), np.int16), note=np.array("hello"))
    (one,) = opened(file)
    assert one.id == "my clip é"
    assert set(one.sequences) == {"visual", "text"}
    assert {x.dtype for x in one.sequences.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(one.sequences["text"], text)
    assert ids(opened(file, ids=["my clip é"], split="anything")) == [one.id]
    with pytest.raises(DataError, match="no sample 'other'"):
        opened(file, ids=["other"])


def test_files_of_many_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", visual=np.ones((3, 5)), id=np.array(["a", "b", "a"]))
    assert [s.sequences["visual"].shape for s in opened(tmp_path / "v.npz")] == [(1, 5)] * 3
    file = str(tmp_path / "v.npz")
    assert [s.about["source"] for s in opened(tmp_path / "v.npz")] == [file, file, f"{file} (2)"]

    ragged: dict[str, Any] = {
        "id": np.array(["x", "y", "z"]),
        "text.values": np.arange(66).reshape(6, 11),
        "text.offsets": np.array([0, 1, 6, 6]),
        "eeg": np.ones((3, 2)),
    }
    np.savez(tmp_path / "ragged.npz", **ragged)
    source = open_sources([tmp_path / "ragged.npz"])
    x, y, z = source.items
    assert isinstance(x, Sample)
    assert isinstance(y, Sample)
    assert (x.id, x.sequences["text"].tolist()) == ("x", [list(range(11))])
    assert y.sequences["text"].shape == (5, 11)
    assert z.id == "z"
    notes = list(source.notes)  # nothing vanishes without a word
    assert len(notes) == 1
    assert "eeg" in notes[0]


def test_a_table_of_ids_and_paths(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("one", "two"):
        np.savez(tmp_path / "clips" / f"{name}.npz", text=np.ones((2, 11)))
    (tmp_path / "clips" / "broken.npz").write_bytes(b"PK")
    (tmp_path / "list.csv").write_text(
        "id,path\nb,clips/broken.npz\n2,clips/two.npz\ngone,clips/no.npz\n1,clips/one.npz\n"
    )
    items = list(open_sources([tmp_path / "list.csv"]).items)
    assert [item.id for item in items] == ["b", "2", "gone", "1"]
    broken, _, gone, _ = items
    assert isinstance(broken, Failure)
    assert isinstance(gone, Failure)
    assert str(tmp_path / "clips" / "no.npz") in gone.error.found
    assert "cannot be read" in broken.error.found


def test_folders_of_modalities_go_on_behind_a_broken_file(tmp_path: Path) -> None:
    for m in ("text", "audio"):
        (tmp_path / "d" / m).mkdir(parents=True)
        for name in ("a", "b", "c"):
            width = DIMS["text"] if m == "text" else DIMS["audio"]
            np.save(tmp_path / "d" / m / f"{name}.npy", np.ones((2, width)))
    (tmp_path / "d" / "audio" / "a.npy").write_bytes(b"no array")
    items = list(open_sources([tmp_path / "d"]).items)
    assert [isinstance(item, Failure) for item in items] == [True, False, False]
    assert [item.id for item in items] == ["a", "b", "c"]


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.marker,))


def _objects(path: Path) -> None:
    array = np.empty(2, object)
    array[:] = Bomb(path.with_name("executed"))
    np.savez(path, text=array)


def _truncated(path: Path) -> None:
    np.savez(path, text=np.ones((300, 11)))
    path.write_bytes(path.read_bytes()[:-400])


def _broken_inside(path: Path) -> None:
    np.savez_compressed(path, text=np.arange(3300.0).reshape(300, 11))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


def _lone_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((2, 11)))


def _raw_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text", "no array")


def _immense(path: Path) -> None:
    """A header that claims a petabyte."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**14, 11)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.npy", buffer.getvalue())


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("hello"), "cannot be read"),
    "truncated": (_truncated, "cannot be read"),
    "broken inside": (_broken_inside, "cannot be read"),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps(Bomb(path.with_name("executed")))),
        "cannot be read",
    ),
    "objects": (_objects, "text holds Python objects"),
    "a lone array": (_lone_array, "cannot be read"),
    "no array inside": (_raw_member, "is a zip archive of text"),
    "immense": (_immense, "cannot be read"),
    "other names": (lambda path: np.savez(path, x=np.ones(2), y=np.ones(2)), "holds x, y"),
    "no arrays": (np.savez, "has no modality"),
    "a vector": (
        lambda path: np.savez(path, text=np.ones(11)),
        r"text: float64 of shape \(11,\)",
    ),
    "strings": (lambda path: np.savez(path, text=np.array([["a"]])), r"text: <U1"),
    "complex": (
        lambda path: np.savez(path, text=np.ones((2, 11), complex)),
        "text is an array of complex128",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_sample(tmp_path: Path, name: str) -> None:
    spoil, message = BROKEN[name]
    path = tmp_path / "clip.npz"
    spoil(path)
    (failure,) = open_sources([path]).items
    assert isinstance(failure, Failure)
    assert failure.id == "clip"
    assert re.search(message, failure.error.found)
    assert "clip.npz" in failure.error.found
    assert "allow_pickle=" not in str(failure.error.fix)
    assert failure.error.expected is not None
    assert {p.name for p in tmp_path.iterdir()} <= {"clip.npz"}  # nothing was executed


def test_numbers_beyond_float32_are_refused_by_the_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", text=np.full((2, 11), 1e300))
    with pytest.raises(DataError, match="22 non-finite values"):
        summing().predict(opened(tmp_path / "x.npz"))


def broken_folder(folder: Path, count: int) -> list[str]:
    """A folder of files of one sample each, some of them broken; return the names of these."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        arrays: dict[str, Any] = {m: rng.normal(size=(3, width)) for m, width in DIMS.items()}
        np.savez(folder / f"clip{i:04}.npz", **arrays)

    np.savez(folder / "clip0002.npz", text=np.full((3, 11), np.nan))
    np.savez(folder / "clip0003.npz", text=np.ones((3, 12)))
    np.savez(folder / "clip0005.npz", other=np.ones((3, 11)))
    (folder / "clip0007.npz").write_bytes(b"PK but no more")
    return ["clip0002", "clip0003", "clip0005", "clip0007"]


def test_broken_samples_do_not_lose_the_others(tmp_path: Path) -> None:
    broken = broken_folder(tmp_path / "clips", 73)
    source = open_sources([tmp_path / "clips"])
    assert source.count == 73
    outcomes = list(summing().stream(source.items))
    assert [outcome.id for outcome in outcomes] == [f"clip{i:04}" for i in range(73)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [failure.id for failure in failures] == broken
    for failure, reason in zip(failures, ("non-finite", "(3, 12)", "holds other", "cannot be read"),
                               strict=True):  # fmt: skip
        assert reason in failure.error.found
        assert failure.source == str(tmp_path / "clips" / f"{failure.id}.npz")

    # each is what it is alone
    alone = summing().predict(opened(tmp_path / "clips" / "clip0040.npz"))[0]
    found = outcomes[40]
    assert isinstance(found, Prediction)
    assert found.probabilities == pytest.approx(alone.probabilities, rel=1e-5)


def test_a_job_counts_and_hands_on_in_order(tmp_path: Path) -> None:
    broken = broken_folder(tmp_path / "clips", 11)
    got: list[str] = []
    outcomes = summing().stream(open_sources([tmp_path / "clips"]).items)
    tally = carry_out(outcomes, lambda outcome: got.append(outcome.id))
    assert got == [f"clip{i:04}" for i in range(11)]
    assert (tally.predicted, tally.failed) == (7, 4)
    assert [failure.id for failure in tally.failures] == broken
    assert len(failure_lines(tally)) == 5

    outcomes = summing().stream(open_sources([tmp_path / "clips"]).items)
    got.clear()
    with pytest.raises(DataError, match="clip0002"):
        carry_out(outcomes, lambda outcome: got.append(outcome.id), strict=True)
    assert got == ["clip0000", "clip0001"]


def test_where_nothing_can_be_predicted_nothing_is_handed_on() -> None:
    failures = [Failure(f"f{i}", ModelError(f"reason {i}"), "") for i in range(5)]
    got: list[str] = []
    with pytest.raises(ModelError, match=r"reason 0 \(and 4 more samples"):
        carry_out(failures, lambda outcome: got.append(outcome.id))
    with pytest.raises(ModelError, match=r"^reason 0$"):
        carry_out(failures[:1], lambda outcome: got.append(outcome.id))
    with pytest.raises(DataError, match="no samples"):
        carry_out([], lambda outcome: got.append(outcome.id))
    assert got == []

    # those before the first prediction wait for it
    first = Prediction("p", {"x": 0.5}, {"x": True})
    tally = carry_out([*failures, first], lambda outcome: got.append(outcome.id))
    assert got == ["f0", "f1", "f2", "f3", "f4", "p"]
    assert (tally.predicted, tally.failed, tally.held["x"]) == (1, 5, 1)


def test_a_folder_has_ids_by_path_and_files_twice_have_numbers(tmp_path: Path) -> None:
    for name in ("a/clip.npz", "b/clip.npz", "clip.npz", ".hidden/clip.npz"):
        file = tmp_path / "clips" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, text=np.ones((2, 11)))
    found = opened(tmp_path / "clips")
    assert ids(found) == ["a/clip", "b/clip", "clip"]

    twice = tmp_path / "clips" / "clip.npz"
    predicted = summing().predict(opened_all(twice, twice, twice))
    assert [p.source for p in predicted] == [f"{twice}", f"{twice} (2)", f"{twice} (3)"]
    assert text_line(predicted[1]).startswith("clip (2): ")


def test_a_folder_without_samples(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing here")
    with pytest.raises(DataError, match=r"no data set at .*, nor files"):
        open_sources([tmp_path])


def test_a_folder_says_which_files_are_no_samples(tmp_path: Path) -> None:
    broken_folder(tmp_path / "clips", 8)
    (tmp_path / "clips" / "clip.mp4").write_bytes(b"film")
    (tmp_path / "clips" / "notes").mkdir()
    (tmp_path / "clips" / "notes" / "a.txt").write_text("mine")
    source = open_sources([tmp_path / "clips"])
    assert source.count == 8
    assert len(list(source.items)) == 8
    assert next(iter(source.notes)) == (
        f"files in {tmp_path / 'clips'} not used: clip.mp4, notes/a.txt"
    )


def test_a_folder_of_videos_is_one(tmp_path: Path) -> None:
    (tmp_path / "about.txt").write_text("my clips")
    (tmp_path / "b.mp4").write_bytes(b"film")
    (tmp_path / "c.wav").write_bytes(b"sound")
    with pytest.raises(DataError, match=r"b\.mp4 is a video"):
        open_sources([tmp_path])


def test_one_of_several_paths_that_holds_nothing_does_not_lose_the_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.ones((2, 11)))
    paths = [tmp_path / "clip.mp4", tmp_path / "a.npz", tmp_path / "nix.csv", tmp_path / "nix"]
    source = open_sources(paths)
    outcomes = list(summing().stream(source.items))
    assert [outcome.id for outcome in outcomes] == ["clip.mp4", "a", "nix.csv", "nix"]
    assert [type(outcome) for outcome in outcomes] == [Failure, Prediction, Failure, Failure]
    for path in (paths[0], paths[2], paths[3]):
        with pytest.raises(DataError):
            open_sources([path])

    # where an id is looked for, a path that is not searched is an error
    with pytest.raises(DataError, match="is a video"):
        open_sources(paths, ids=["a"])


def test_a_failure_says_what_was_expected(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.ones((2, 10)))
    np.savez(tmp_path / "b.npz", text=np.ones((2, 11)))
    outcomes = summing().stream(open_sources([tmp_path]).items)
    failure = next(outcomes)
    assert isinstance(failure, Failure)
    assert failure.reason.endswith("(2, 10); expected numbers of shape (steps, 11)")
    assert json.loads(json_line(failure))["error"] == failure.reason
    assert csv_cells(failure, ["x"])[-1] == failure.reason


class Short(Sum):
    """Takes 60 steps and no more."""

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        most = max(longest.values())
        if most > 60:
            raise TooLongError(f"{most} steps", most=60, expected="at most 60", fix="a larger")


def short() -> Predictor:
    return Predictor(LoadedModel(card(DIMS), Short(DIMS).eval(), None))


def test_rows_that_may_be_samples_are_told_how_to_say_so(tmp_path: Path) -> None:
    rows = np.ones((500, 11))
    np.savez(tmp_path / "one.npz", text=rows)
    ragged: dict[str, Any] = {"text.values": rows, "text.offsets": np.array([0, 500])}
    np.savez(tmp_path / "many.npz", **ragged)
    fixes = []
    for name in ("one.npz", "many.npz"):
        (failure,) = short().stream(open_sources([tmp_path / name]).items)
        assert isinstance(failure, Failure)
        fixes.append(str(failure.error.fix))
    assert ["an array id" in fix for fix in fixes] == [True, False]

    np.savez(tmp_path / "named.npz", text=rows, id=np.arange(500).astype(str))
    assert len(list(short().stream(open_sources([tmp_path / "named.npz"]).items))) == 500


def test_samples_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    broken_folder(tmp_path / "clips", 200)
    items = open_sources([tmp_path / "clips"]).items
    outcomes = summing().stream(items)
    assert next(outcomes).id == "clip0000"
    for file in (tmp_path / "clips").iterdir():
        file.unlink()
    rest = list(outcomes)
    assert len(rest) == 199
    # the first batch was read before, and no more
    lost = [outcome.id for outcome in rest if isinstance(outcome, Failure)]
    assert lost[-1] == "clip0199"
    assert lost[4] == f"clip{module.FIRST_CHUNK:04}"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("clip.mp4", "a video"),
        ("CLIP.MKV", "a video"),
        ("clip.avi", "a video"),
        ("clip.webm", "a video"),
        ("clip.wav", "a sound"),
        ("clip.mp3", "a sound"),
        ("face.jpg", "a picture"),
        ("said.txt", "a text"),
        ("https://example.org/watch?v=1", "an address in the web"),
    ],
)
def test_a_video_is_told_what_it_is_and_what_to_do(name: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        open_sources([Path(name)], predictor=summing({"visual": 5, "text": 11}))
    assert caught.value.found.endswith(f" is {what}")
    assert "visual of width 5, text of width 11" in str(caught.value.expected)
    assert "OpenFace" in str(caught.value.fix)
    assert "openSMILE" not in str(caught.value.fix)  # the model does not listen
    assert "`emotailor data convert FOLDER --out DATA`" in str(caught.value.fix)


def test_a_video_is_known_by_its_content_too(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"\0\0\0\x20ftypisom" + bytes(99))
    (tmp_path / "data.bin").write_bytes(b"\0\1\2")
    assert media_of(tmp_path / "clip") == "a video"
    assert media_of(tmp_path / "data.bin") is None
    # under the name of something else, too; a picture may begin as a video does
    for name, what in {"clip.txt": "a video", "clip.jpg": "a video", "a.heic": "a picture"}.items():
        (tmp_path / name).write_bytes((tmp_path / "clip").read_bytes())
        assert media_of(tmp_path / name) == what
    for head in (b"\x1aE\xdf\xa3", b"OggS"):
        (tmp_path / "kept.dat").write_bytes(head + bytes(99))
        assert media_of(tmp_path / "kept.dat") == "a video or a sound"
    assert media_of(tmp_path / "absent.npz") is None


# ---------------------------------------------------------------------- written


def outcomes_to_write() -> list[Prediction | Failure]:
    first = Prediction(
        "=1+1",
        {"a,b": 0.25, "@x": 0.125},
        {"a,b": True, "@x": False},
        thresholds={"a,b": 0.2, "@x": 0.5},
        source="clips/one\n.npz",
        unseen={"text": 3},
    )
    return [first, Failure("two", DataError("it is\nbroken"), "clips/two.npz"), first]


def test_a_csv_has_a_row_for_every_sample(tmp_path: Path) -> None:
    file = OutFile.at(tmp_path / "new" / "found.CSV", [], overwrite=False)
    with file.opened(["a,b", "@x"]) as emit:
        for outcome in outcomes_to_write():
            emit(outcome)
        assert not file.path.exists()

    with file.path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["id", "source", "p:a,b", "p:@x", "a,b", "'@x", "threshold:a,b",
                       "threshold:@x", "unseen_steps", "error"]  # fmt: skip
    predicted = ["'=1+1", "clips/one\n.npz", "0.250000", "0.125000", "1", "0", "0.200000",
                 "0.500000", "text 3", ""]  # fmt: skip
    assert rows[1] == rows[3] == predicted
    assert rows[2] == ["two", "clips/two.npz", "", "", "", "", "", "", "", "it is\nbroken"]
    assert {len(row) for row in rows} == {10}


def test_json_lines_have_a_line_for_every_sample(tmp_path: Path) -> None:
    file = OutFile.at(tmp_path / "found.jsonl", [], overwrite=False)
    with file.opened(["a,b", "@x"]) as emit:
        for outcome in outcomes_to_write():
            emit(outcome)

    first, second, _ = map(json.loads, file.path.read_text(encoding="utf-8").splitlines())
    assert first["thresholds"] == {"a,b": 0.2, "@x": 0.5}
    assert first["unseen_steps"] == {"text": 3}
    assert second == {"id": "two", "error": "it is\nbroken", "source": "clips/two.npz"}


def test_a_failure_on_the_way_writes_nothing(tmp_path: Path) -> None:
    file = OutFile.at(tmp_path / "found.csv", [], overwrite=False)
    with pytest.raises(DataError), file.opened(["x"]) as emit:
        emit(Prediction("a", {"x": 0.5}, {"x": False}, thresholds={"x": 0.5}))
        raise DataError("no more")
    assert list(tmp_path.iterdir()) == []


def test_files_that_must_not_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    for path, overwrite, part in (
        (tmp_path / "x.txt", True, ".csv or .jsonl"),
        (tmp_path / "x", True, ".csv or .jsonl"),
        (taken, False, "--overwrite"),
        (taken / "x.csv", False, "is a file"),
        (tmp_path / "folder.csv", True, "is a folder"),
    ):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=re.escape(part)):
            OutFile.at(path, [], overwrite=overwrite)
    with pytest.raises(ConfigError, match="this one is read"):
        OutFile.at(taken, [tmp_path / "absent", taken], overwrite=True)
    assert OutFile.at(taken, [], overwrite=True).form == "csv"
    assert taken.read_text() == "mine"


# ---------------------------------------------------------------------- progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("total", [None, 4321])
def test_a_log_gets_a_line_now_and_then(total: int | None) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=80)
    with Watch(console, total, clock=clock) as watch:
        for _ in range(99):  # quick: nothing to say
            watch.advance()
        assert isinstance(console.file, io.StringIO)
        assert console.file.getvalue() == ""
        clock.now += 4
        for _ in range(2000):
            watch.advance()
        clock.now += 29
        watch.advance()
    of_total = "" if total is None else " of 4,321"
    assert console.file.getvalue() == f"predicted 128{of_total} samples\n"


def test_a_terminal_gets_a_bar_after_some_seconds() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    assert isinstance(console.file, io.StringIO)
    with Watch(console, 50, clock=clock) as watch:
        watch.advance()
        assert console.file.getvalue() == ""
        clock.now += 4
        watch.advance()
        watch.advance()
    assert "/50" in console.file.getvalue()


# ---------------------------------------------------------------------- what is shown


def rendered(*predictions: Prediction, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_predictions(predictions))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def explained(drops: dict[Modality, float], steps: list[float]) -> Prediction:
    names = ("surprise", "disgust")
    why = Explanation(
        {"surprise": drops, "disgust": dict.fromkeys(drops, -0.004)},
        {name: {m: np.array(steps, np.float64) for m in drops} for name in names},
        {},
        dict.fromkeys(drops, 1),
    )
    return Prediction(
        "[red]video[/red][3]",
        {"disgust": 0.25, "surprise": 0.5004},
        {"disgust": False, "surprise": True},
        why,
        {"disgust": 0.25, "surprise": 0.1256},
    )


def test_a_table_says_what_the_evidence_for_each_label_is() -> None:
    steps = [0.0] * 98 + [0.4, 0.5]
    lines = rendered(explained({"visual": 1.234, "audio": -0.056, "text": 0.001}, steps))
    assert lines[0] == "[red]video[/red][3]: surprise"
    rows = [" ".join(line.split()) for line in lines]
    assert rows[2] == "label p > threshold no visual no audio no text evidence"
    assert rows[4] == "surprise 0.500 > 0.126 yes -1.23 +0.06 0.00 visual, steps 99-100"
    assert rows[5] == "disgust 0.250 = 0.250 0.00 0.00 0.00 -"


def test_what_the_columns_mean_is_said_by_their_names() -> None:
    def note(drops: dict[Modality, float]) -> list[str]:
        return rendered(explained(drops, [0.0, 1.0]))[-3:]

    several = note({"visual": 1.0, "text": 1.0})
    assert several[0].startswith("no visual, no text: ")
    assert "modality" in several[1]
    # there is nothing to choose from
    alone = note({"text": 1.0})
    assert alone[0].startswith("no text: ")
    assert not any("modality" in line for line in alone)


def test_a_table_fits_80_columns_without_cutting() -> None:
    lines = rendered(explained({"visual": -11.25, "audio": 10.5, "text": 0.0}, [1.0] * 500))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert any("audio, steps 1-500" in line for line in lines)


def test_one_step_is_one_step() -> None:
    assert any(
        line.endswith("text, step 2") for line in rendered(explained({"text": 1.0}, [0.0, 1.0]))
    )


def test_without_explanation_there_is_none() -> None:
    lines = rendered(Prediction("a", {"x": 0.5}, {"x": False}))
    assert lines[0] == "a: none of the labels"
    assert not any("evidence" in line for line in lines)
    assert rendered() == []


def test_a_probability_stands_beside_its_threshold() -> None:
    assert compare(0.126, 0.1184) == "0.126 > 0.118"
    assert compare(0.111, 0.1184) == "0.111 < 0.118"
    assert compare(0.118401, 0.1184) == "0.118401 > 0.118400"
    assert compare(0.5, 0.5) == "0.500 = 0.500"
    assert compare(0.5, None) == "0.500"


def test_some_hundred_samples_have_a_line_each() -> None:
    found = Prediction(
        "a\nb",
        {"x": 0.25, "y": 0.75, "z": 0.1},
        {"x": True, "y": True, "z": False},
        thresholds={"x": 0.2, "y": 0.5, "z": 0.2},
    )
    assert text_line(found) == "a\n  b: y 0.750 > 0.500, x 0.250 > 0.200"
    assert text_line(Prediction("c", {"x": 0.1}, {"x": False})) == "c: none of the labels"
