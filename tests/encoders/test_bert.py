"""BERT by its equations, by transformers, and in folders that are none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from emotailor.encoders import load_encoder
from emotailor.encoders.bert import BertConfig, build_bert
from emotailor.errors import ConfigError, DataError, ModelError
from tests.encoders import tiny

WHERE = Path("model.safetensors")
IDS = [[2, 4, 5, 6, 9, 3], [2, 7, 3, 0, 0, 0]]
LENGTHS = [6, 3]


def by_equations(ids: list[int], p: dict[str, Tensor]) -> Float[Tensor, "steps width"]:
    """BERT for one text, one head at a time (Vaswani et al., equations 1 and 2; post-norm)."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = x.var(-1, keepdim=True, unbiased=False)
        scaled = (x - mean) / torch.sqrt(variance + tiny.CONFIG["layer_norm_eps"])
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x = p["embeddings.word_embeddings.weight"][ids]
    x = x + p["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + p["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")

    heads = tiny.CONFIG["num_attention_heads"]
    size = tiny.CONFIG["hidden_size"] // heads
    for layer in range(tiny.CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        parts = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            kinds = ("query", "key", "value")
            q, k, v = (linear(x, f"{name}.attention.self.{kind}")[:, own] for kind in kinds)
            parts.append(torch.softmax(q @ k.T / math.sqrt(size), -1) @ v)
        attended = linear(torch.cat(parts, -1), f"{name}.attention.output.dense")
        x = norm(x + attended, f"{name}.attention.output.LayerNorm")

        inner = linear(x, f"{name}.intermediate.dense")
        inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = norm(x + linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x


def test_bert_computes_what_its_equations_say_and_padding_changes_nothing() -> None:
    stored = tiny.tensors()
    model = build_bert(BertConfig.model_validate(tiny.CONFIG), stored, WHERE)
    real = torch.arange(6)[None] < torch.tensor(LENGTHS)[:, None]
    with torch.inference_mode():
        found = model(torch.tensor(IDS), real)
    for row, length in enumerate(LENGTHS):
        wanted = by_equations(IDS[row][:length], stored)
        assert (found[row, :length] - wanted).abs().max() < 1e-5
    assert found.abs().max() > 0.5


def test_a_larger_model_has_a_bert_inside() -> None:
    named = {f"bert.{name}": tensor for name, tensor in tiny.tensors().items()}
    named["cls.predictions.bias"] = torch.zeros(23)
    model = build_bert(BertConfig.model_validate(tiny.CONFIG), named, WHERE)
    assert torch.equal(model.pieces.weight, named["bert.embeddings.word_embeddings.weight"])


def test_other_settings_and_tensors_are_refused() -> None:
    config = BertConfig.model_validate(tiny.CONFIG)
    stored = tiny.tensors()
    del stored["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ModelError, match=r"no tensor encoder\.layer\.1\.output\.dense\.bias"):
        build_bert(config, stored, WHERE)
    wide = tiny.tensors()
    wide["embeddings.LayerNorm.bias"] = torch.zeros(13)
    with pytest.raises(ModelError, match=r"norm.bias has the shape \(13,\)"):
        build_bert(config, wide, WHERE)
    for key, value in {"hidden_act": "relu", "num_attention_heads": 5}.items():
        with pytest.raises(ValueError, match=key):
            BertConfig.model_validate({**tiny.CONFIG, key: value})


# ---------------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny.need("tokenizers")
    return tiny.write_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


def test_a_folder_is_an_encoder(folder: Path) -> None:
    encoder = load_encoder(folder)
    words = ["So", "greatly!", "\u200e", "day"]
    (encoded,) = encoder.encode([words])
    states = by_equations([2, 4, 5, 6, 9, 8, 3], tiny.tensors()).numpy()
    assert encoded.known.tolist() == [True, True, False, True]
    assert np.abs(encoded.vectors[0] - states[1]).max() < 1e-5
    assert np.abs(encoded.vectors[1] - states[2:5].mean(0)).max() < 1e-5
    assert not encoded.vectors[2].any()
    assert np.abs(encoded.vectors[3] - states[5]).max() < 1e-5

    (sentence,) = load_encoder(folder, pooling="sentence").encode([words])
    mean = states.mean(0)
    assert np.abs(sentence.vectors[0] - mean / np.linalg.norm(mean)).max() < 1e-5
    assert sentence.vectors.shape == (1, 12)


def test_texts_of_all_lengths_are_encoded_as_if_alone(folder: Path) -> None:
    encoder = load_encoder(folder)
    texts = [["so"] * n for n in (3, 0, 40, 1, 11, 12)]
    together = encoder.encode(texts)
    assert [len(one.vectors) for one in together] == [3, 0, 40, 1, 11, 12]
    assert [one.windows for one in together] == [1, 1, 7, 1, 1, 2]
    for words, one in zip(texts, together, strict=True):
        (alone,) = encoder.encode([words])
        assert np.abs(one.vectors - alone.vectors).max(initial=0) < 1e-5


def test_the_fingerprint_is_of_what_changes_the_vectors(folder: Path, tmp_path: Path) -> None:
    same = load_encoder(tiny.write_bert(tmp_path / "another-name")).extraction
    ours = load_encoder(folder).extraction
    assert ours.extractor == "tiny-bert"
    assert same.makes_the_same_as(ours)
    others = [
        load_encoder(tiny.write_bert(tmp_path / "other", seed=1)).extraction,
        load_encoder(folder, pooling="sentence").extraction,
    ]
    words = tiny.tokenizer_json()
    words["normalizer"]["lowercase"] = False
    cased = tiny.write_bert(tmp_path / "cased")
    (cased / "tokenizer.json").write_text(json.dumps(words))
    others.append(load_encoder(cased).extraction)
    for other in others:
        assert not other.makes_the_same_as(ours)


def test_transformers_computes_the_same(folder: Path) -> None:
    tiny.need("transformers")
    import transformers

    encoder = load_encoder(folder)
    model = transformers.BertModel(transformers.BertConfig(**tiny.CONFIG)).eval()
    missing, unexpected = model.load_state_dict(tiny.tensors(), strict=False)
    assert not unexpected
    assert all(name.startswith("pooler") for name in missing)
    with torch.inference_mode():
        states = model(torch.tensor([IDS[0]])).last_hidden_state[0].numpy()
    (encoded,) = encoder.encode([["so", "greatly!"]])
    assert np.abs(encoded.vectors[0] - states[1]).max() < 1e-5
    assert np.abs(encoded.vectors[1] - states[2:5].mean(0)).max() < 1e-5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "it has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "holds a list"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "hidden_size"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "cannot be read"),
    ],
)
def test_damaged_folders_end_in_one_message(
    spoil: object, message: str, folder: Path, tmp_path: Path
) -> None:
    broken = tiny.write_bert(tmp_path / "broken")
    assert callable(spoil)
    spoil(broken)
    with pytest.raises(ModelError, match=message):
        load_encoder(broken)


def test_weights_that_are_not_finite_are_found(folder: Path, tmp_path: Path) -> None:
    broken = tiny.write_bert(tmp_path / "broken")
    stored = tiny.tensors()
    stored["encoder.layer.1.output.LayerNorm.bias"][3] = math.nan
    save_file(stored, broken / "model.safetensors")
    with pytest.raises(DataError, match="not finite for 'so great'"):
        load_encoder(broken).encode([["so", "great"]])


def test_names_that_are_none() -> None:
    with pytest.raises(ConfigError, match="there is no encoder 'minilmm'") as caught:
        load_encoder("minilmm")
    assert caught.value.fix == "did you mean minilm?"
    with pytest.raises(ConfigError, match="does not exist"):
        load_encoder("models/none")
    with pytest.raises(ConfigError, match="pooling 'cls'"):
        load_encoder("minilm", pooling="cls")
