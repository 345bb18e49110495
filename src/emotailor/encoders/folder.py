"""The folder of a Hugging Face model: its settings, its weights and its tokenizer.

A BERT with ``model.safetensors`` and ``tokenizer.json``, such as all-MiniLM-L6-v2, needs nothing
but the small package ``tokenizers``. Other models are read by the package ``transformers``, which
is never allowed to run code of the folder, nor to load anything over the network.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Pooling
from emotailor.encoders.bert import build_bert, parse_config
from emotailor.encoders.contextual import ContextualEncoder, Network
from emotailor.encoders.packages import need
from emotailor.encoders.pieces import Tokenizer
from emotailor.encoders.words import RULE
from emotailor.errors import ModelError
from emotailor.files import sha256_of

TEXT_EXTRA = "pip install 'emotailor[text]'"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
COPY = "copy or download the model folder again"

_WEIGHTS_OF_OTHERS = ("*.safetensors", "pytorch_model*.bin")
_EXPECTED = f"a folder with {CONFIG}, weights and a tokenizer, as save_pretrained writes it"


@dataclass(frozen=True)
class _Loaded:
    """A model that is ready to compute.

    Attributes:
        network: computes the last layer.
        tokenizer: a ``tokenizers.Tokenizer``.
        dim: width of its vectors.
        most: steps that it takes at once.
    """

    network: Network
    tokenizer: Any
    dim: int
    most: int


def load_folder(
    folder: Path,
    pooling: Pooling,
    *,
    name: str | None = None,
    version: str = "",
    sha256: str | None = None,
) -> ContextualEncoder:
    """Return the encoder in the folder of a model.

    Args:
        folder: the folder.
        pooling: what a vector is of.
        name: name of the model; by default that of the folder.
        version: of the package that carries it.
        sha256: of its weights, where it is known already.

    Raises:
        ModelError: it is no such folder, or a file in it is damaged.
        ConfigError: a package is not installed.
    """
    values = _read_config(folder)

    # what needs no large package uses none
    own = values.get("model_type") == "bert" and (folder / WEIGHTS).is_file()
    if own and (folder / TOKENIZER).is_file():
        loaded = _load_bert(folder, values)
    else:
        loaded = _load_with_transformers(folder)

    settings = {
        "layer": "last",
        "pooling": pooling,
        "words": RULE,
        "tokenizer": _hash_of_tokenizer(loaded.tokenizer),
    }
    extraction = Extraction(
        extractor=name or folder.resolve().name or "model",
        version=version,
        settings=settings,
        sha256=sha256 or _hash_of_weights(folder),
    )
    return ContextualEncoder(
        loaded.network,
        Tokenizer(loaded.tokenizer),
        dim=loaded.dim,
        most=loaded.most,
        pooling=pooling,
        extraction=extraction,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f"{folder} is no model: it has no {CONFIG}", expected=_EXPECTED)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}", expected=_EXPECTED, fix=COPY) from error

    if not isinstance(values, dict):
        raise ModelError(f"{file} holds a {type(values).__name__}", expected=_EXPECTED, fix=COPY)
    return values


# ---------------------------------------------------------------------- BERT


def _load_bert(folder: Path, values: dict[str, Any]) -> _Loaded:
    from safetensors.torch import load_file

    config = parse_config(values, folder / CONFIG)
    tokenizer = _read_tokenizer(folder / TOKENIZER)
    file = folder / WEIGHTS
    try:
        stored = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}", fix=COPY) from error

    network = build_bert(config, stored, file)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise ModelError(
            f"{folder / TOKENIZER} has {tokenizer.get_vocab_size()} pieces",
            expected=f"no more than the {config.vocab_size} of {CONFIG}",
            fix=COPY,
        )
    return _Loaded(network, tokenizer, config.hidden_size, config.max_position_embeddings)


def _read_tokenizer(file: Path) -> Any:
    tokenizers = need("tokenizers", f"the model in {file.parent}", TEXT_EXTRA)
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise ModelError(f"{file} cannot be read: {error}", fix=COPY) from error


# ---------------------------------------------------------------------- other models


def _load_with_transformers(folder: Path) -> _Loaded:
    transformers = need("transformers", f"the model in {folder}", "pip install transformers")
    load = _quietly(transformers)
    try:
        tokenizer = load(transformers.AutoTokenizer, folder)
        model = load(transformers.AutoModel, folder)
    except Exception as error:  # whatever a damaged folder makes the library raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model in {folder} cannot be loaded: {type(error).__name__}: {reason}",
            expected=_EXPECTED,
            fix=COPY,
        ) from error

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the tokenizer in {folder} does not say where its pieces come from",
            expected=f"one that has a {TOKENIZER}",
            fix="save it with a fast tokenizer of transformers",
        )

    def network(numbers: Any, real: Any) -> Any:
        return model(input_ids=numbers, attention_mask=real.long()).last_hidden_state

    return _Loaded(network, backend, model.config.hidden_size, _places(model))


def _quietly(transformers: Any) -> Callable[[Any, Path], Any]:
    """Return what loads something from a folder, without a word and without any network."""

    def load(kind: Any, folder: Path) -> Any:
        before = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            found = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        finally:
            transformers.logging.set_verbosity(before)
        return found.eval().float() if hasattr(found, "eval") else found

    return load


def _places(model: Any) -> int:
    """Return how many steps a model takes at once."""
    most = int(getattr(model.config, "max_position_embeddings", 512))
    embeddings = getattr(model, "embeddings", None)
    places = getattr(embeddings, "position_embeddings", None)

    # RoBERTa and its kin count from behind the place of padding
    filling = getattr(places, "padding_idx", None)
    return most if filling is None else most - int(filling) - 1


# ---------------------------------------------------------------------- hashes


def _hash_of_tokenizer(tokenizer: Any) -> str:
    """Return 16 digits over all that a tokenizer is, but for how it cuts and fills."""
    values = json.loads(tokenizer.to_str())

    # a tokenizer here never cuts nor fills, whatever its file says
    kept = {key: values[key] for key in sorted(values) if key not in ("truncation", "padding")}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash_of_weights(folder: Path) -> str:
    """Return the SHA-256 of the weights; of several files one over all of theirs."""
    if (folder / WEIGHTS).is_file():
        return sha256_of(folder / WEIGHTS)

    # in parts, or as earlier versions of PyTorch have it
    files: set[Path] = set()
    for pattern in _WEIGHTS_OF_OTHERS:
        files.update(folder.glob(pattern))
    together = "".join(sha256_of(file) for file in sorted(files))
    return hashlib.sha256(together.encode()).hexdigest()
