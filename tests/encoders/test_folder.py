"""Models that are no BERT, and BERTs without our files: read by transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.encoders import TextEncoder, load_encoder
from emotailor.errors import ConfigError, ModelError
from tests.encoders import tiny

WORDS = ["So", "greatly!", "a", "day"]
PIECES = [4, 5, 6, 9, 7, 8]
OF_WORD = [0, 1, 1, 1, 2, 3]


def save(folder: Path, model: Any) -> Path:
    """Write a model and a fast tokenizer as save_pretrained does."""
    tiny.need("transformers")
    import transformers

    tiny.need("tokenizers")
    import tokenizers

    model.save_pretrained(folder)
    cut = tokenizers.Tokenizer.from_str(json.dumps(tiny.tokenizer_json()))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=cut, **names).save_pretrained(folder)
    return folder


def roberta() -> Any:
    """A RoBERTa with 13 places: of its 15, two are for padding."""
    tiny.need("transformers")
    import transformers

    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=23,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=17,
        max_position_embeddings=15,
        pad_token_id=1,
    )
    return transformers.RobertaModel(config).eval()


def expected(model: Any) -> np.ndarray:
    with torch.inference_mode():
        states = model(torch.tensor([[2, *PIECES, 3]])).last_hidden_state[0].numpy()
    inside = states[1:-1]
    return np.stack([inside[np.array(OF_WORD) == word].mean(0) for word in range(len(WORDS))])


def check(encoder: TextEncoder, model: Any) -> None:
    (encoded,) = encoder.encode([WORDS])
    assert encoder.dim == 12
    assert np.abs(encoded.vectors - expected(model)).max() < 1e-5


def test_a_roberta_and_texts_that_just_fit(tmp_path: Path) -> None:
    model = roberta()
    encoder = load_encoder(save(tmp_path / "tiny-roberta", model))
    check(encoder, model)
    assert encoder.extraction.extractor == "tiny-roberta"
    texts = [["so"] * count for count in (11, 12, 30)]
    assert [one.windows for one in encoder.encode(texts)] == [1, 2, 5]


def test_a_bert_whose_weights_are_named_otherwise(tmp_path: Path) -> None:
    tiny.need("transformers")
    import transformers

    model = transformers.BertModel(transformers.BertConfig(**tiny.CONFIG)).eval()
    folder = save(tmp_path / "bert", model)
    ours = load_encoder(folder)
    check(ours, model)

    # as earlier versions saved it
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    theirs = load_encoder(folder)
    check(theirs, model)
    assert ours.extraction.settings == theirs.extraction.settings
    assert ours.extraction.sha256 != theirs.extraction.sha256


def test_damage_and_code_of_a_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "broken", roberta())
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(folder)

    # a folder that brings code of its own is refused, not run
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (evil / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(evil)
    assert not (tmp_path / "ran").exists()


def test_without_transformers_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ConfigError, match="needs the package transformers") as caught:
        load_encoder(tmp_path)
    assert caught.value.fix == "pip install transformers"
