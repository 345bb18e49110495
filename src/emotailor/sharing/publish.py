"""Writing a trained model as a folder in the form of the Hugging Face Hub.

The folder is a model folder too: ``Predictor.load`` reads it. ``model.json`` says what the model is
and names the weights, which have the name that the Hub looks for; ``config.json`` is there for the
Hub, and ``README.md`` is its model card.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emotailor import __version__
from emotailor.data.card import FileCard
from emotailor.errors import ConfigError
from emotailor.files import replacing_folder, sha256_of, write_json, write_shared, write_text
from emotailor.folders import FolderKind, has_format
from emotailor.sharing.facts import Facts, facts_of
from emotailor.sharing.readme import commands, readme
from emotailor.shipped.find import meant_by
from emotailor.shipped.hub import check_repository
from emotailor.text import visible
from emotailor.training.model_folder import (
    CARD_FILE,
    MADE_SINCE,
    check_model,
    load_tensors,
    save_card,
    save_tensors,
)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
README_FILE = "README.md"
FORMAT = "emotailor-published-model"

FOLDER = FolderKind(
    name="published model",
    marker=CONFIG_FILE,
    recognises=has_format(FORMAT),
    writes=(
        README_FILE,
        CONFIG_FILE,
        CARD_FILE,
        WEIGHTS_FILE,
        *MADE_SINCE,
    ),
    signs=(CARD_FILE,),
    below=("figures",),
    error=ConfigError,
)

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", re.ASCII)


@dataclass(frozen=True)
class Published:
    """A model that was published.

    Attributes:
        folder: its folder.
        files: names in it.
        commands: command lines that use it.
        repository: its name on the Hub; None where nobody said it.
    """

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]
    repository: str | None


def publish(
    model: str | Path,
    folder: str | Path,
    *,
    licence: str,
    repository: str | None = None,
    languages: Sequence[str] = (),
    overwrite: bool = False,
) -> Published:
    """Write a model into a folder that can be uploaded to the Hugging Face Hub.

    Nothing of it says where, or by whom, the model was made: paths become their last part.

    Args:
        model: run folder, model folder, or the name of a model.
        folder: to create.
        licence: of the weights, as the Hub calls it, such as ``mit`` or ``cc-by-4.0``.
        repository: what it will be called on the Hub, ``user/name``: then the commands of its card
            name it so.
        languages: of its words, as codes such as ``en``.
        overwrite: replace an earlier published model.

    Raises:
        ModelError: there is no trained model, or it is damaged.
        DataError: a stored evaluation is damaged.
        ConfigError: the folder holds something else, or an argument is not what the Hub takes.
    """
    place = Path(folder)
    _check(licence, languages)
    if repository is not None:
        check_repository(repository)
    FOLDER.check_new(place, overwrite=overwrite)

    source = meant_by(model)
    facts = facts_of(model, languages)
    _, weights = check_model(source)
    tensors = load_tensors(weights)

    name = place.resolve().name if repository is None else repository.partition("/")[2]
    called = name if repository is None else f"hf://{repository}"
    # the names are always the same: meanwhile the card says that no model is there
    with replacing_folder(
        place,
        index=CARD_FILE,
        writes=FOLDER.writes,
        overwrite=overwrite,
        meanwhile={"format": "emotailor-model", "schema_version": facts.card.schema_version},
    ) as new:
        file = new / WEIGHTS_FILE
        write_shared(file, partial(save_tensors, tensors))
        named = FileCard(file=WEIGHTS_FILE, sha256=sha256_of(file))
        write_text(new / README_FILE, readme(facts, name, called, licence))
        write_json(new / CONFIG_FILE, _config(facts))
        save_card(new, facts.card.model_copy(update={"weights": named}))

    return Published(
        folder=place,
        files=(README_FILE, CONFIG_FILE, CARD_FILE, WEIGHTS_FILE),
        commands=tuple(commands(facts, called)),
        repository=repository,
    )


def _check(licence: str, languages: Sequence[str]) -> None:
    """Refuse what the Hub does not take as a licence or a language.

    Raises:
        ConfigError: it would not.
    """
    if not _LICENCE.fullmatch(licence):
        close = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
        fix = f"did you mean {close}?" if _LICENCE.fullmatch(close) else None
        raise ConfigError(
            f"the licence {visible(licence)!r}",
            expected="an identifier of the Hub, such as mit, apache-2.0, cc-by-nc-4.0 or other",
            fix=fix,
        )
    for language in languages:
        if not _LANGUAGE.fullmatch(language):
            raise ConfigError(
                f"the language {visible(language)!r}", expected="a code, such as en or pt-BR"
            )


def _config(facts: Facts) -> dict[str, Any]:
    """Return what the Hub shows and counts a model by; ``model.json`` has all of it."""
    labels = list(facts.card.label_names)
    return {
        "format": FORMAT,
        "schema_version": 2,  # from the first on it has a hash
        "model_type": "emotailor",
        "architectures": [facts.title],
        "system": facts.card.system,
        "problem_type": "multi_label_classification",
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "model_card": CARD_FILE,
        "emotailor_version": __version__,
    }
