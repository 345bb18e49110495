"""A BERT small enough to compute by hand, and an encoder that needs no package at all."""

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Encoded, Pooling, TextEncoder

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 13,
    "vocab_size": 23,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "so", "great", "##ly", "a", "day", "!", "'", "t"]
VOCABULARY += ["don", "it", "is"]

SPOKEN = ["so", "great", "a", "day", "it", "is", "greatly", "don't", "it's", "!"]


def said(count: int, seed: int = 0) -> list[str]:
    """Texts of one to seven words that the tokenizer knows."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(SPOKEN, rng.integers(1, 8))) for _ in range(count)]


def need(*modules: str) -> None:
    """Skip where a package is absent; fail where it must be there, as in the project's own CI."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if not absent:
        return
    message = f"{', '.join(absent)} absent: pip install 'emotailor[text]'"
    if os.environ.get("EMOTAILOR_REQUIRE_SHARED"):
        pytest.fail(message)
    pytest.skip(message)


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Parameters of a BERT with the sizes of ``CONFIG``, by their published names."""
    width, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], width),
        "embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        start = f"encoder.layer.{layer}"
        sizes = {
            "attention.self.query": (width, width),
            "attention.self.key": (width, width),
            "attention.self.value": (width, width),
            "attention.output.dense": (width, width),
            "attention.output.LayerNorm": (width,),
            "intermediate.dense": (inner, width),
            "output.dense": (width, inner),
            "output.LayerNorm": (width,),
        }
        for name, shape in sizes.items():
            shapes[f"{start}.{name}.weight"] = shape
            shapes[f"{start}.{name}.bias"] = shape[:1]
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(*shape, generator=generator) / 2 for name, shape in shapes.items()}


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer like BERT's, as the ``tokenizers`` package stores it."""
    mark = {name: VOCABULARY.index(name) for name in ("[CLS]", "[SEP]")}
    added = [
        {"id": VOCABULARY.index(name), "content": name, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
        for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    ]  # fmt: skip
    return {
        "version": "1.0",
        "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0,
                       "direction": "Right"},
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]}
                               for name, number in mark.items()},
        },
        "decoder": None,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {word: i for i, word in enumerate(VOCABULARY)}},
    }  # fmt: skip


def write_bert(folder: Path, *, seed: int = 0, prefix: str = "") -> Path:
    """A folder as ``save_pretrained`` writes it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    named = {f"{prefix}{name}": tensor for name, tensor in tensors(seed).items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Lengths(TextEncoder):
    """Two numbers of a word: its length and its vowels; ``???`` has none. Counts what it encodes.

    Attributes:
        encoded: number of texts that were computed.
        stop_after: raises KeyboardInterrupt where so many were; None for never.
    """

    def __init__(self, pooling: Pooling = "words", stop_after: int | None = None) -> None:
        self.dim = 2
        self.pooling = pooling
        self.extraction = Extraction(
            extractor="lengths",
            version="1",
            settings={"pooling": pooling},
            sha256=hashlib.sha256(b"lengths").hexdigest(),
        )
        self.encoded = 0
        self.stop_after = stop_after

    def encode(self, texts: Sequence[Sequence[str]]) -> list[Encoded]:
        if self.stop_after is not None and self.encoded >= self.stop_after:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        return [self._one(list(words)) for words in texts]

    def _one(self, words: list[str]) -> Encoded:
        rows = [[len(word), sum(letter in "aeiou" for letter in word)] for word in words]
        vectors = np.array(rows, np.float32).reshape(-1, 2)
        known = np.array([word != "???" for word in words], np.bool_)
        vectors[~known] = 0
        if self.pooling == "sentence" and words:
            return Encoded(words, vectors.mean(0, keepdims=True), np.array([known.any()]))
        return Encoded(words, vectors, known, strange=int((~known).sum()))
