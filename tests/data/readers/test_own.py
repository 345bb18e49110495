"""Readers of other people: found in every way, treated as the built-in ones are."""

import hashlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emotailor
from emotailor.data.readers import FORMATS, ConvertOptions, Format, Reading, find_format, reader
from emotailor.data.readers.account import Account
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.loading import load_object
from tests.runs.runs import run_cli

READER = '''
import csv
import numpy as np
from emotailor.data.readers import Reading, Sample, reader


@reader("label_threshold", "label_rule")
def read_mine(path, options):
    """A text file of clips: split, id, joy and three numbers that describe the face."""

    def samples():
        with path.open() as file:
            for split, name, joy, *face in csv.reader(file):
                label = options.binarise(str(path), [float(joy)])
                yield split, Sample(name, {"visual": np.array([face], np.float32)}, label)

    return Reading(("joy",), {"visual": 3}, False, samples(), notes=[options.rule])
'''


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with a source and a reader for it; forget afterwards what it imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_clips.py").write_text(READER)
    (tmp_path / "clips.txt").write_text("train,a,0.2,1,2,3\ntrain,b,0.9,4,5,6\ntest,c,0.5,7,8,9\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def offered(folder: Path, points: str) -> None:
    """Lay out what installing a package leaves on ``sys.path``."""
    info = folder / "clips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clips\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[emotailor.readers]\n{points}\n")
    sys.path.append(str(folder))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_converted(workplace: Path, name: str) -> None:
    data = open_dataset(workplace / "out")
    assert data.label_names == ("joy",)
    assert list(data["train"].ids) == ["a", "b"]
    assert data["train"].labels.tolist() == [[0], [1]]
    np.testing.assert_array_equal(data["test"].sequence("visual", 0), [[7, 8, 9]])
    assert "a label holds where its value is > 0.3" in data.card.repairs
    provenance = data.card.provenance
    assert provenance["format"] == name
    clips = workplace / "clips.txt"
    assert provenance["sources"] == [{"file": "clips.txt", "sha256": sha256(clips)}]
    assert provenance["options"]["label_threshold"] == 0.3
    module = workplace / "own_clips.py"
    assert provenance["reader"] == {"file": "own_clips.py", "sha256": sha256(module)}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("own_clips:read_mine", "own_clips:read_mine"),
        ("own_clips.py:read_mine", "own_clips.py:read_mine"),
        ("{here}/own_clips.py:read_mine", "own_clips.py:read_mine"),
        ("clips", "clips"),
    ],
)
def test_by_reference_and_by_entry_point(workplace: Path, given: str, name: str) -> None:
    offered(workplace, "clips = own_clips:read_mine")
    given = given.format(here=workplace)
    emotailor.convert("clips.txt", "out", format=given, label_threshold=0.3)
    check_converted(workplace, name)


def test_as_a_function_and_as_a_format(workplace: Path) -> None:
    function = find_format("own_clips:read_mine").read
    emotailor.convert("clips.txt", "out", format=function, label_threshold=0.3)
    check_converted(workplace, "own_clips:read_mine")

    mine = Format("clips", "clips", function, frozenset({"label_threshold"}))
    emotailor.convert("clips.txt", "out", format=mine, label_threshold=0.3, overwrite=True)
    check_converted(workplace, "clips")


def test_on_the_command_line(workplace: Path) -> None:
    given = ["data", "convert", "clips.txt", "--out", "out", "--label-threshold", "0.3"]
    done = run_cli(*given, "--format", "own_clips.py:read_mine")
    assert (done.code, done.err) == (0, "")
    assert "3 samples" in done.out
    check_converted(workplace, "own_clips.py:read_mine")

    wrong = run_cli(*given, "--overwrite", "--format", "own_clips.py:read_mien")
    assert wrong.code == ConfigError.exit_code
    assert "read_mien" in wrong.err and "'read_mine'" in wrong.err


def test_the_description_is_the_first_line_of_the_docstring() -> None:
    found = find_format("own_clips:read_mine")
    assert found.what.startswith("A text file of clips: split")
    assert found.options == {"label_threshold", "label_rule"}
    with pytest.raises(DataError) as caught:
        emotailor.convert("nowhere.txt", "out", format="own_clips:read_mine")
    assert caught.value.expected == found.what


def test_an_option_that_is_not_declared_is_refused(workplace: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        emotailor.convert("clips.txt", "out", format="own_clips:read_mine", align=True)
    assert "align" in caught.value.found
    assert '@reader("align", "label_rule", "label_threshold")' in (caught.value.fix or "")
    assert not (workplace / "out").exists()


def test_only_options_that_exist_can_be_declared() -> None:
    with pytest.raises(ConfigError) as caught:
        reader("labels", "fps")
    assert "fps" in caught.value.found
    assert "label_names" in (caught.value.expected or "")


def test_the_limit_holds_and_a_name_of_ours_is_never_taken_over(workplace: Path) -> None:
    offered(workplace, "npz = own_clips:read_mine\nclips = own_clips:read_mine")
    assert find_format("npz") is FORMATS["npz"]
    data = emotailor.convert("clips.txt", "out", format="clips", limit=1)
    assert [len(split) for split in data.splits.values()] == [1, 1]


def test_an_unknown_name_lists_what_is_offered(workplace: Path) -> None:
    offered(workplace, "clips = own_clips:read_mine")
    with pytest.raises(ConfigError) as caught:
        find_format("clisp")
    assert "'clisp'" in caught.value.found
    for part in ("tailor", "npz", "clips", "file.py:name"):
        assert part in (caught.value.expected or "")


def test_what_is_no_reader_is_refused(workplace: Path) -> None:
    (workplace / "own_wrong.py").write_text("read = 5\n")
    with pytest.raises(ConfigError, match=r"own_wrong:read.*is a int"):
        find_format("own_wrong:read")


@pytest.mark.parametrize("where", ["at once", "in a sample"])
def test_a_failure_is_the_readers_and_keeps_its_cause(workplace: Path, where: str) -> None:
    lines = ["def read(path, options):", "    return {}['text']"]
    if where == "in a sample":
        lines = [
            "from emotailor.data.readers import Reading",
            "def samples():",
            "    yield {}['text']",
            "def read(path, options):",
            "    return Reading(('joy',), {'visual': 3}, False, samples())",
        ]
    (workplace / "own_wrong.py").write_text("\n".join(lines))
    with pytest.raises(EmotailorError) as caught:
        emotailor.convert("clips.txt", "out", format="own_wrong.py:read")
    error = caught.value
    line = 2 if where == "at once" else 3
    assert not isinstance(error, DataError)  # nothing is wrong with the file
    assert "own_wrong.py:read" in error.found
    assert f"line {line} of {workplace / 'own_wrong.py'}" in error.found
    assert "KeyError" in error.found and "text" in error.found
    assert isinstance(error.__cause__, KeyError)
    assert not (workplace / "out").exists()


def test_a_function_of_another_signature_is_named(workplace: Path) -> None:
    (workplace / "own_wrong.py").write_text("def read(path):\n    return path\n")
    with pytest.raises(EmotailorError, match=r"own_wrong:read.*takes 1 positional") as caught:
        emotailor.convert("clips.txt", "out", format="own_wrong:read")
    assert isinstance(caught.value.__cause__, TypeError)


def test_errors_that_a_reader_raises_in_our_words_pass() -> None:
    def read(path: Path, options: ConvertOptions) -> Reading:
        raise DataError(f"{path} has no faces", expected="a face in every clip")

    with pytest.raises(DataError, match=r"clips.txt has no faces"):
        emotailor.convert("clips.txt", "out", format=read)


FACE = np.ones((2, 3), np.float32)


def made(cls: type[Any], **values: Any) -> Any:
    """Make an object with wrong values in it, past the type checks that tests switch on."""
    built = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(built, name, value)
    return built


def sample(name: Any = "a", sequences: Any = None, labels: Any = (1,)) -> Sample:
    if sequences is None:
        sequences = {"visual": FACE}
    nothing: dict[str, Any] = {"missing": {}, "words": None, "times": {}, "about": {}}
    return made(Sample, id=name, sequences=sequences, labels=labels, **nothing)


def reading(*items: Any, **changes: Any) -> Any:
    values = {"label_names": ("joy",), "dims": {"visual": 3}, "aligned": False, "samples": items}
    return made(
        Reading,
        **{**values, "files": [], "notes": [], "extraction": {}, "account": Account(), **changes},
    )


def converted(result: Any) -> Any:
    """Convert with a reader that returns ``result``."""
    name = f"own_{secrets.token_hex(4)}"  # past the checks of types, as a user's module is
    Path(f"{name}.py").write_text("result = None\ndef read(path, options):\n    return result\n")
    load_object(f"{name}:read", "reader").__globals__["result"] = result
    return emotailor.convert("clips.txt", "out", format=f"{name}:read")


@pytest.mark.parametrize(
    ("result", "named"),
    [
        ({"samples": []}, "returned a dict"),
        (None, "returned a NoneType"),
        (reading(label_names="joy"), "'joy'"),
        (reading(label_names=(1, 2)), "(1, 2)"),
        (reading(dims=[3]), "[3]"),
        (reading(samples=7), "a int as samples"),
        (reading(files=["clips.txt"]), "clips.txt"),
        (reading(files=[Path("gone.txt")]), "gone.txt"),
        (reading(sample()), "a Sample as number 0"),
        (reading(("train", sample()), ("train", "a", FACE)), "(str, str, ndarray) as number 1"),
        (reading((1, sample())), "(int, Sample)"),
        (reading(("train", sample(7))), "the id 7"),
        (reading(("train", sample(sequences=FACE))), "a ndarray as sequences"),
        (reading(("train", sample(sequences={"visual": np.float32(1)}))), "as visual"),
        (reading(("train", sample(sequences={"visual": [["x"]]}))), "as visual"),
        (reading(("train", sample(sequences={"visual": [[1, 2], [3]]}))), "as visual"),
        (reading(("train", sample(sequences={"visual": np.ones(3)}))), "as visual"),
        (reading(("train", sample(sequences={"smell": FACE}))), "'smell'"),
        (reading(("train", sample(labels=[2]))), "the labels [2]"),
        (reading(("train", sample(labels=1))), "the labels 1"),
        (reading(("train", sample(labels=["joy"]))), "the labels ['joy']"),
    ],
)
def test_what_a_reader_gives_is_checked(workplace: Path, result: Any, named: str) -> None:
    with pytest.raises(EmotailorError) as caught:
        converted(result)
    assert not isinstance(caught.value, DataError)
    assert named in caught.value.found
    assert "own_" in caught.value.found
    assert caught.value.expected
    assert not (workplace / "out").exists()


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (sample(labels=[1, 0]), "labels"),
        (sample(sequences={"visual": FACE[:, :2]}), "visual"),
    ],
)
def test_samples_pass_the_checks_of_every_data_set(item: Sample, named: str) -> None:
    with pytest.raises(DataError) as caught:
        converted(reading(("train", item)))
    assert named in caught.value.found
    assert "'a'" in caught.value.found


def test_a_reader_may_have_no_labels() -> None:
    items = (("train", sample("a", labels=None)), ("train", sample("b")))
    data = converted(reading(*items))
    assert data["train"].labelled.tolist() == [False, True]
    assert data["train"].sample(0).labels is None
    assert "the labels of 1 of 2 samples are unknown" in data.card.repairs

    data = emotailor.convert(
        "clips.txt",
        "without",
        format=lambda path, options: Reading(
            label_names=(),
            dims={"visual": 3},
            aligned=True,
            samples=[("test", Sample("c", {"visual": FACE}))],
        ),
    )
    assert (data.label_names, data["test"].labels.shape) == ((), (1, 0))


def test_lists_will_do_instead_of_arrays() -> None:
    item = sample(sequences={"visual": [[1, 2, 3]], "text": []}, labels=[0, True])
    data = converted(reading(("train", item), label_names=["sad", "joy"]))
    assert data["train"].labels.tolist() == [[0, 1]]
    assert data["train"].modalities == ("visual",)
    np.testing.assert_array_equal(data["train"].sequence("visual", 0), [[1, 2, 3]])
