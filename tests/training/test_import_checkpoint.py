"""Importing the authors' checkpoint: exact where it is theirs, one message where it is not."""

import pickle
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from emotailor.data.sample import MODALITIES, Sample
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.models.tailor.checkpoint import LABELS
from emotailor.serving.predictor import Predictor
from emotailor.training.import_checkpoint import import_checkpoint, read_state_dict
from tests.models.tailor.parity import read_batch
from tests.runs.runs import run_cli

State = dict[str, Tensor]
POSITIONS = "position_embeddings.weight"


@pytest.fixture(scope="module")
def state(shared_parity: Path) -> State:
    """Parameters of the authors' program at its own depths, 16 wide, 8 heads."""
    return load_file(shared_parity / "tailor" / "aligned_default_depth" / "weights.safetensors")


def save(state: Any, path: Path, **options: Any) -> Path:
    torch.save(state, path, **options)
    return path


def full_length(case: Path) -> tuple[State, State]:
    """A case without padding: position tables as long as its sequences; and its tensors."""
    io, weights = load_file(case / "io.safetensors"), load_file(case / "weights.safetensors")
    steps = io["input/text"].shape[1]
    for name in weights:
        if name.endswith(POSITIONS):
            rows = 4 * steps if "_cross" in name else steps
            weights[name] = weights[name][:rows].clone()
    return weights, io


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_imported_model_predicts_what_the_program_did(
    shared_parity: Path, tmp_path: Path, prefix: str
) -> None:
    weights, io = full_length(shared_parity / "tailor" / "aligned_ones")
    file = save({prefix + k: v for k, v in weights.items()}, tmp_path / "pytorch_model_19.bin")
    card = import_checkpoint(file, tmp_path / "model", heads=4)
    assert card.label_names == LABELS
    assert card.config["max_steps"] == 8
    assert card.dims == {"visual": 7, "audio": 11, "text": 20}
    assert card.data["imported"] == "pytorch_model_19.bin"
    predictor = Predictor.load(tmp_path / "model", device="cpu")
    batch = read_batch(io)
    with torch.inference_mode():
        logits = predictor.model(batch).logits
    torch.testing.assert_close(logits, io["logits"], rtol=2e-5, atol=2e-5)
    # and as a user gets them: by name, from samples, with the program's threshold
    samples = [
        Sample(str(i), {m: batch.values[m][i].numpy() for m in MODALITIES}) for i in range(3)
    ]
    found = predictor.predict(samples)
    assert predictor.mode == "fixed"
    for i, prediction in enumerate(found):
        expected = torch.sigmoid(io["logits"][i]).numpy()
        np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-5)
        assert list(prediction.probabilities) == list(LABELS)
        assert list(prediction.decisions.values()) == (expected > 0.35).tolist()


def test_old_and_wrapped_files_are_read_too(state: State, tmp_path: Path) -> None:
    plain = read_state_dict(save(state, tmp_path / "new.bin"))
    old = save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    half = save({k: v.half() for k, v in state.items()}, tmp_path / "half.bin")
    wrapped = save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.bin")
    for other in (read_state_dict(old), read_state_dict(wrapped)):
        assert other.keys() == plain.keys()
        assert all(torch.equal(other[k], plain[k]) for k in plain)
    assert {v.dtype for v in read_state_dict(half).values()} == {torch.float32}


def test_depths_and_widths_are_read_off_the_parameters(state: State, tmp_path: Path) -> None:
    card = import_checkpoint(save(state, tmp_path / "a.bin"), tmp_path / "model")
    sizes = ("hidden_size", "visual_layers", "audio_layers", "text_layers", "cross_layers", "heads")
    assert [card.config[k] for k in sizes] == [16, 4, 4, 6, 3, 8]
    assert card.dims == {"visual": 8, "audio": 10, "text": 30}


class Bomb:
    """Touches a file when a careless reader unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.marker,))


def _hostile(state: State, path: Path) -> None:
    save({**state, "extra": Bomb(path.with_name("executed"))}, path)


def _hostile_pickle(state: State, path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.with_name("executed"))))


def _hostile_old(state: State, path: Path) -> None:
    save(Bomb(path.with_name("executed")), path, _use_new_zipfile_serialization=False)


def _truncated(state: State, path: Path) -> None:
    save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _changed(change: Callable[[State], Any]) -> Callable[[State, Path], None]:
    def spoil(state: State, path: Path) -> None:
        save(change(dict(state)), path)

    return spoil


def _without(name: str) -> Callable[[State, Path], None]:
    return _changed(lambda s: {k: v for k, v in s.items() if not k.startswith(name)})


def _with(**tensors: Any) -> Callable[[State, Path], None]:
    return _changed(lambda s: {**s, **{k.replace("__", "."): v for k, v in tensors.items()}})


def _nan(state: State, path: Path) -> None:
    spoiled = state["cross_classifier.dense.weight"].clone()
    spoiled[0, 3] = float("nan")
    save({**state, "cross_classifier.dense.weight": spoiled}, path)


BROKEN: dict[str, tuple[Callable[[State, Path], Any], str]] = {
    "missing": (lambda state, path: None, r"no file at .*pytorch_model_19.bin"),
    "empty": (lambda state, path: path.write_bytes(b""), "damaged or no torch file"),
    "text": (lambda state, path: path.write_text("hello"), "damaged or no torch file"),
    "zeros": (lambda state, path: path.write_bytes(bytes(300)), "damaged or no torch file"),
    "truncated": (_truncated, "damaged or no torch file"),
    "folder": (lambda state, path: path.mkdir(), "no file at"),
    "hostile": (_hostile, "holds objects other than tensors; nothing in it was executed"),
    "hostile pickle": (_hostile_pickle, "nothing in it was executed"),
    "hostile old format": (_hostile_old, "nothing in it was executed"),
    "a tensor": (_changed(lambda s: torch.zeros(3)), "holds a Tensor"),
    "a list": (_changed(lambda s: list(s.values())), "holds a list"),
    "empty table": (_changed(lambda s: {"state_dict": {}}), "holds a dict"),
    "numbers": (_with(epoch=3), "entry 'epoch' is not a tensor of numbers"),
    "nested": (_with(inner={"a": torch.zeros(2)}), "entry 'inner' is not a tensor"),
    "complex": (_with(x=torch.zeros(2, dtype=torch.complex64)), "entry 'x' is not a tensor"),
    "sparse": (_with(x=torch.eye(2).to_sparse()), "entry 'x' is not a tensor"),
    "without storage": (_with(x=torch.zeros(2, device="meta")), "entry 'x' is not a tensor"),
    "NaN": (_nan, r"NaN or infinite values in 1 of \d+ parameters, such as cross_classifier"),
    "other model": (_changed(lambda s: {"fc.weight": torch.zeros(3, 2)}), "no parameter"),
    "missing parameter": (
        _without("private_feature_extractor.1.0.bias"),
        r"1 missing parameters \(private_feature_extractor.1.0.bias\)",
    ),
    "missing encoder": (_without("visual.encoder"), r"impossible sizes: .*visual_layers = 0"),
    "missing labels": (_without("decoder.embeddings.word"), "1 missing parameters"),
    "missing width": (_without("audio.embeddings.word_embeddings.weight"), "1 missing parameters"),
    "unknown parameter": (
        _with(extra__bias=torch.zeros(2)),
        r"1 unknown parameters \(extra.bias\)",
    ),
    "unaligned": (
        _with(v2t_ctc__pred_output_position_inclu_blank__weight_ih_l0=torch.zeros(2, 2)),
        "unaligned setting",
    ),
    "seven labels": (
        _changed(lambda s: {**s, "decoder.embeddings.word_embeddings.weight": torch.zeros(7, 16)}),
        r"pytorch_model_19.bin: 7 labels[\s\S]*happy",
    ),
    "flat positions": (
        _with(bert__embeddings__position_embeddings__weight=torch.zeros(8)),
        "unexpected shapes",
    ),
    "flat projection": (
        _with(visual__embeddings__word_embeddings__weight=torch.zeros(8)),
        "unexpected shapes",
    ),
    "wrong width": (
        _with(common_feature_extractor__0__weight=torch.zeros(16, 15)),
        r"unexpected shapes: .*\(?16, 15",
    ),
    "few positions": (
        _with(pc_cross__embeddings__position_embeddings__weight=torch.zeros(5, 16)),
        "unexpected shapes",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_their_checkpoint(state: State, tmp_path: Path, name: str) -> None:
    spoil, message = BROKEN[name]
    file = tmp_path / "pytorch_model_19.bin"
    spoil(state, file)
    with pytest.raises(ModelError, match=message) as caught:
        import_checkpoint(file, tmp_path / "model")
    assert "pytorch_model_19.bin" in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to disarm itself
    assert {p.name for p in tmp_path.iterdir()} <= {file.name}


def _zip_of(files: dict[str, bytes], path: Path, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(f"a/{name}", content)


def _compressed(state: State, path: Path) -> None:
    save(state, path)
    with zipfile.ZipFile(path) as archive:
        files = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    _zip_of(files, path, zipfile.ZIP_DEFLATED)


def _overlapping(state: State, path: Path) -> None:
    """Every entry of the directory points to the same member."""
    save({"a": torch.zeros(1000)}, path)
    content = path.read_bytes()
    start = int.from_bytes(content[-6:-2], "little")
    directory, end = content[start:-22], bytearray(content[-22:])
    count = int.from_bytes(end[10:12], "little") * 50
    end[8:12] = count.to_bytes(2, "little") * 2
    end[12:16] = (len(directory) * 50).to_bytes(4, "little")
    path.write_bytes(content[:start] + directory * 50 + end)


def _fan_out(state: State, path: Path) -> None:
    """Thirty tuples, each of which holds the one before twice; to hash the last takes minutes."""
    pairs = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(30))
    table = b"\x80\x02}" + b")q\x00" + pairs + b"K\x01s."
    _zip_of({"data.pkl": table, "version": b"3"}, path)


def _repeated(state: State, path: Path) -> None:
    save({"a": torch.zeros(1).expand(10**9)}, path)


HOSTILE: dict[str, Callable[[State, Path], Any]] = {
    "compressed": _compressed,
    "overlapping": _overlapping,
    "fan-out": _fan_out,
    "repeated": _repeated,
    "no table": lambda state, path: _zip_of({"version": b"3"}, path),
    "deep": lambda state, path: _zip_of({"data.pkl": b"\x80\x02" + b"]" * 10**5 + b"."}, path),
    "no rows": _with(bert__encoder__layer__0__intermediate__dense__weight=torch.zeros(10**12, 0)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_claims_more_than_it_holds(state: State, tmp_path: Path, name: str) -> None:
    file = tmp_path / "pytorch_model_19.bin"
    HOSTILE[name](state, file)
    with pytest.raises(ModelError) as caught:
        import_checkpoint(file, tmp_path / "model")
    assert "pytorch_model_19.bin" in caught.value.found
    assert caught.value.expected


@pytest.mark.parametrize("new", [True, False])
def test_flipped_and_missing_bytes_are_one_error_or_change_nothing(
    state: State, tmp_path: Path, new: bool
) -> None:
    kept = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
    file = save(kept, tmp_path / "small.bin", _use_new_zipfile_serialization=new)
    content = file.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for at in generator.choice(len(content), 200, replace=False).tolist():
        for spoiled in (
            content[:at]
            + bytes([content[at] ^ (1 << int(generator.integers(8)))])
            + content[at + 1 :],
            content[:at],
        ):
            file.write_bytes(spoiled)
            try:
                read_state_dict(file)
            except ModelError as error:
                assert "small.bin" in error.found
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("heads", [3, 5, 16 * 3])
def test_heads_that_do_not_divide_the_width(state: State, tmp_path: Path, heads: int) -> None:
    file = save(state, tmp_path / "a.bin")
    with pytest.raises(ConfigError, match=f"--heads {heads}: .*hidden_size 16 must be a multiple"):
        import_checkpoint(file, tmp_path / "model", heads=heads)
    assert not (tmp_path / "model").exists()


def test_what_is_there_is_not_overwritten_by_accident(state: State, tmp_path: Path) -> None:
    file, model = save(state, tmp_path / "a.bin"), tmp_path / "model"
    first = import_checkpoint(file, model)
    with pytest.raises(DataError, match="already exists"):
        import_checkpoint(file, model)
    state = {**state, "cross_classifier.dense.bias": torch.ones(1)}
    second = import_checkpoint(save(state, file), model, overwrite=True)
    assert second.weights != first.weights
    assert len(list(model.iterdir())) == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("dear")
    with pytest.raises(DataError, match=r"photos is no model folder.*1.jpg"):
        import_checkpoint(file, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "1.jpg").read_text() == "dear"


def test_the_command(state: State, tmp_path: Path) -> None:
    file, model = save(state, tmp_path / "my model.bin"), tmp_path / "mödel"
    done = run_cli("import-checkpoint", file, "--out", model)
    assert (done.code, done.err) == (0, "")
    told, following = done.out.splitlines()
    assert told.endswith(
        "TAILOR for happy, sad, angry, surprise, disgust, fear from features visual 8, audio 10, "
        "text 30"
    )
    assert following == f"next: emotailor evaluate {shlex.quote(str(model))} --data DATA"
    run_cli("import-checkpoint", file, "-o", model).failed(4, "already exists", "--overwrite")
    assert run_cli("import-checkpoint", file, "-o", model, "--overwrite").code == 0
    run_cli("import-checkpoint", file, "-o", tmp_path / "x", "--heads", "3").failed(3, "--heads 3")
    run_cli("import-checkpoint", tmp_path, "-o", tmp_path / "x").failed(5, "no file at")
    assert run_cli("import-checkpoint", file).code == 2
