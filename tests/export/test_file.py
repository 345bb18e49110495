"""An ONNX file in place of a folder: the same predictions, and one clear error for all others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, ModelError, TooLongError
from emotailor.export import check, write
from emotailor.export.onnx_file import MAX_BYTES, finish, read_onnx
from emotailor.export.protobuf import metadata_entry, metadata_of
from emotailor.runs.export import export_onnx, onnx_for
from emotailor.serving.predictor import Predictor
from tests.helpers import DIMS, LABELS, holed_samples
from tests.runs.runs import run_cli, train_tiny


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    """The file beside the weights."""
    said: list[str] = []
    path = onnx_for(run, said.append)
    assert path == run / "model" / "model.onnx"
    assert "on 6 random batches and 7 samples of small" in said[1]

    # it is that of these weights: nothing is done again
    assert onnx_for(run, said.append) == path
    assert len(said) == 3
    return path


def test_a_file_predicts_as_its_folder_does(run: Path, file: Path, data: Path) -> None:
    folder = Predictor.load(run, device="cpu")
    other = Predictor.load(file)
    assert (other.card, other.dims, other.mode) == (folder.card, folder.dims, folder.mode)

    samples = [*open_dataset(data)["test"], *holed_samples(5)]
    wanted = folder.predict(samples, explain=True)
    found = other.predict(samples, explain=True)
    for a, b in zip(wanted, found, strict=True):
        assert b.decisions == a.decisions
        assert a.explanation is not None
        assert b.explanation is not None
        for name in LABELS:
            assert b.probabilities[name] == pytest.approx(a.probabilities[name], abs=1e-5)
            assert b.explanation.modalities[name] == pytest.approx(
                a.explanation.modalities[name], abs=1e-4
            )
            assert set(b.explanation.attention[name]) == set(a.explanation.attention[name])
            for block, weights in a.explanation.attention[name].items():
                np.testing.assert_allclose(b.explanation.attention[name][block], weights, atol=1e-5)

    long = replace(samples[0], sequences={m: np.zeros((14, d)) for m, d in DIMS.items()})
    with pytest.raises(TooLongError, match="14 steps"):
        other.predict(long)
    with pytest.raises(ConfigError, match="device"):
        Predictor.load(file, device="cuda")


def test_the_command_line_takes_a_file(
    run: Path, file: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--json", "--limit", "3"]
    by_folder = run_cli("predict", run, data, *asked)
    for done in (
        run_cli("predict", file, data, *asked),
        run_cli("predict", run, data, *asked, "--runtime", "onnx"),
    ):
        assert done.code == 0, done.err
        for line, other in zip(done.out.splitlines(), by_folder.out.splitlines(), strict=True):
            a, b = json.loads(line), json.loads(other)
            assert a["id"] == b["id"]
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-5)

    # recording takes seconds, and gives the same graph again
    monkeypatch.setattr(write, "record", lambda *_: file.read_bytes())
    out = tmp_path / "again.onnx"
    done = run_cli("export", run, "--onnx", out)
    assert done.code == 0, done.err
    assert "on 6 random batches and 7 samples of small" in done.out
    assert read_onnx(out).described == read_onnx(file).described
    run_cli("export", run, "--onnx", out).failed(3, "already exists", "--overwrite")
    run_cli("export", run, "--onnx", tmp_path / "small.bin").failed(3, "ends in .onnx")

    # commands that store something beside the model need a folder
    for command in ("evaluate", "report", "figures"):
        run_cli(command, out).failed(5, "again.onnx is a file", "the folder that it was exported")


def test_decisions_that_8_bits_change_are_counted(run: Path, tmp_path: Path, data: Path) -> None:
    done = export_onnx(run, tmp_path / "m.onnx", int8=True)
    assert read_onnx(done.path).described.int8
    assert "rounded to 8 bits, test: " in "\n".join(done.lines())
    whole = Predictor.load(run, device="cpu")
    small = Predictor.load(done.path)
    assert [c.split for c in done.changed] == ["valid", "test"]
    for changed in done.changed:
        split = open_dataset(data)[changed.split]
        before = whole.predict_proba(split)
        after = small.predict_proba(split)
        differ = (before > whole.thresholds) != (after > whole.thresholds)
        assert list(changed.changed.values()) == differ.sum(0).tolist()
        assert changed.samples == len(split)
        assert changed.difference == pytest.approx(np.abs(before - after).max())
        assert 0 < changed.difference < 0.1


def test_a_file_tells_strangers_what_it_takes(file: Path) -> None:
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["emotailor:labels"]) == list(LABELS)
    assert set(json.loads(told["emotailor:thresholds"])) == set(LABELS)
    inputs = json.loads(told["emotailor:inputs"])
    assert list(inputs) == ["visual", "visual_mask", "audio", "audio_mask", "text", "text_mask"]
    assert inputs["audio"]["shape"] == ["batch", "steps", 7]
    assert inputs["audio"]["most_steps"] == 13
    assert {one.name for one in session.get_inputs()} == set(inputs)
    assert [one.shape for one in session.get_outputs()][:2] == [["batch", 3]] * 2

    # no word of where it was made
    assert str(Path.cwd()).encode() not in file.read_bytes()
    onnx.checker.check_model(onnx.load(file), full_check=False)


def test_a_damaged_or_foreign_file_is_one_error(file: Path, tmp_path: Path) -> None:
    import onnx

    content = file.read_bytes()
    place = tmp_path / "model.onnx"

    def refused(found: bytes, why: str) -> None:
        place.write_bytes(found)
        with pytest.raises(ModelError, match=why):
            Predictor.load(place)

    for cut in (0, 1, 7, len(content) // 2, len(content) - 1):
        refused(content[:cut], "is damaged|not an ONNX file that emotailor wrote")
    for place_of in np.random.default_rng(1).integers(0, len(content), 20):
        flipped = bytearray(content)
        flipped[place_of] ^= 4
        refused(bytes(flipped), "is damaged|not an ONNX file|cannot be run")
    refused(b"\x80\x04pickle" * 9, "is damaged|not an ONNX file")
    refused(content + b"\x00\x01", "is damaged")

    # a model of somebody else
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    refused(model.SerializeToString(), "not an ONNX file that emotailor wrote")

    # weights that are to be read from elsewhere, in a file whose seal is right
    model = onnx.load_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    refused(model.SerializeToString(), "from other files")

    # a key of 33 bits, which others read as that of a graph
    refused(content + b"\xba\x80\x80\x80\x10\x00", "it is no protobuf")

    # a right seal on a card of another graph
    described = read_onnx(file).described
    other = described.model_copy(update={"attention": described.attention[1:]})
    refused(finish(content, other), "has the outputs")

    with place.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(ModelError, match="at most"):
        Predictor.load(place)
    with pytest.raises(ModelError, match="cannot be read"):
        Predictor.load(tmp_path / "none.onnx")


def test_metadata_goes_in_and_out() -> None:
    text = "a label with ünicode, " * 30
    content = metadata_entry("key", text) + metadata_entry("other", "")
    assert metadata_of(memoryview(content)) == {"key": text, "other": ""}


def test_a_graph_that_computes_something_else_gets_no_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "record", lambda *_: (run / "model" / "model.onnx").read_bytes())
    model = shutil.copytree(run / "model", tmp_path / "model")
    (model / "model.onnx").unlink(missing_ok=True)
    monkeypatch.setattr(check, "TOLERANCE", 1e-12)
    done = run_cli("export", model, "--onnx", tmp_path / "m.onnx")
    done.failed(5, "gives other logits than the model", "nothing was written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
