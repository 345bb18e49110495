"""Which text encoder is trained along, and whether one can be."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.extraction import Extraction, check_extraction
from emotailor.data.sample import Modality
from emotailor.encoders.table import ENCODERS, load_encoder, name_of
from emotailor.errors import ConfigError
from emotailor.models.adapters.base import BaseEncoder
from emotailor.models.adapters.config import AdapterConfig
from emotailor.models.adapters.model import Adapters
from emotailor.models.base import FittedModel
from emotailor.models.factory import model_class
from emotailor.models.system import System

LEAVE_OUT = "train with --set adapters.rank=0, on the features as they are stored"


def resolve_adapters(
    wanted: AdapterConfig,
    system: System,
    dims: Mapping[Modality, int],
    dataset: EmotionDataset,
    train_split: Split,
) -> AdapterConfig:
    """Check that an encoder can be trained along, and take its name from the data set.

    Args:
        wanted: by the user.
        system: to be trained.
        dims: the modalities it takes.
        dataset: says how its features were made.
        train_split: its samples must have their words.

    Raises:
        ConfigError: no encoder can be trained along, or nobody says which one it is.
    """
    if not wanted.rank:
        return wanted

    problem = None
    if issubclass(model_class(system.name), FittedModel):
        problem = f"{system.title} is fitted at once, and no gradient would train the adapters"
    elif "text" not in dims:
        problem = f"{system.title} takes {', '.join(dims)} here, and no text"
    elif (train_split.present("text") & ~train_split.has_words()).any():
        problem = f"split {train_split.name!r} keeps no words, which an encoder reads"
    if problem:
        raise ConfigError(
            f"adapters.rank = {wanted.rank}, but {problem}",
            expected="a system that is trained by gradients, and text that emotailor encoded",
            fix=LEAVE_OUT,
        )
    if wanted.encoder is not None:
        folder = Path(wanted.encoder)
        # a model folder must find it from anywhere
        return wanted.replace(encoder=str(folder.resolve())) if folder.is_dir() else wanted

    extraction = dataset.card.extraction.get("text")
    name = None if extraction is None else name_of(extraction)
    if name is None:
        by_whom = "nobody knows what" if extraction is None else extraction.describe()
        raise ConfigError(
            f"the features of text were made by {by_whom}",
            expected=f"an encoder that has a name ({', '.join(ENCODERS)}), or its folder",
            fix=f"name it with --set adapters.encoder=FOLDER, or {LEAVE_OUT}",
        )
    return wanted.replace(encoder=name)


def load_adapters(config: AdapterConfig, extraction: Extraction | None) -> Adapters | None:
    """Load the encoder that is trained along; None where there is none.

    Args:
        config: settings, with the encoder's name.
        extraction: how the features of text were made, where anybody knows.

    Raises:
        ConfigError: there is no such encoder, or a package is not installed.
        ModelError: it is damaged, of a kind without adapters, or another one than that which made
            the features.
    """
    if not config.rank or config.encoder is None:
        return None

    encoder = _load(config.encoder)
    if extraction is not None:
        found = {"text": encoder.extraction}
        name = f"the encoder {config.encoder}"
        check_extraction(found, {"text": extraction}, ["text"], name)
    return Adapters(config, encoder)


@lru_cache(maxsize=1)
def _load(name: str) -> BaseEncoder:
    """Load an encoder once, however many runs of a process train it along."""
    return BaseEncoder(load_encoder(name))
