"""Models of the Hugging Face Hub: from a name such as ``hf://user/name`` to a folder of its cache.

Nothing is fetched but what a model folder is made of: its card, then the weights file that the card
names. Neither can run code, and whoever loads the model checks the hash of the weights.
"""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from emotailor.encoders.packages import need
from emotailor.errors import ConfigError, EmotailorError, ModelError
from emotailor.text import visible
from emotailor.verified import read_json

CARD_FILE = "model.json"
"""What a model folder is known by; see ``training/model_folder.py``, its owner."""

INSTALL = "pip install 'emotailor[hub]'"
LIKE = "hf://user/name, or hf://user/name@revision"
LONGEST = 96
"""Characters of a name on the Hub, at most."""

# a path has one slash less: Path("hf://user/name") is hf:/user/name
_NAME = re.compile(r"hf:(?:/{1,2}(?P<repository>[^@]*)(?:@(?P<revision>.*))?)?", re.DOTALL)
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)


def is_on_hub(path: str | Path) -> bool:
    """Whether a path is no path, but the name of a model of the Hub.

    What lies at the path wins, as with the names of models that come with the package.
    """
    return _NAME.fullmatch(_text(path)) is not None and not Path(path).exists()


def hub_name(path: str | Path) -> str:
    """Return a name of the Hub as people write it: a path has lost one of its slashes."""
    repository, revision = _parts(path)
    return f"hf://{repository}" if revision is None else f"hf://{repository}@{revision}"


def hub_folder(path: str | Path) -> Path:
    """Return the folder of a model of the Hub, after fetching what of it is not in the cache yet.

    One process asks once: whatever it does with the model, it does with the same revision.

    Args:
        path: a name such as ``hf://user/name`` or ``hf://user/name@revision``.

    Raises:
        ConfigError: it is no such name, or huggingface_hub is not installed.
        ModelError: there is no such repository or revision, it may not be read, it is no model of
            ours, or it is not in the cache and the Hub cannot be reached.
    """
    return _folder(*_parts(path))


def check_repository(name: str) -> str:
    """Return the name of a repository, ``user/name``, if the Hub could have it.

    Raises:
        ConfigError: it could not.
    """
    parts = name.split("/")
    is_name = len(parts) == 2 and all(_PART.fullmatch(part) for part in parts)
    has_odd_marks = "--" in name or ".." in name or name.endswith(".git")
    if not is_name or has_odd_marks or len(name) > LONGEST:
        raise ConfigError(
            f"{visible(name)!r} is no name of a repository on the Hugging Face Hub",
            expected="user/name, of letters, digits, and single -, _ and . between them",
        )
    return name


def _text(path: str | Path) -> str:
    return path if isinstance(path, str) else path.as_posix()


def _parts(path: str | Path) -> tuple[str, str | None]:
    """Return repository and revision; None for the newest of the main branch.

    Raises:
        ConfigError: there is no such name.
    """
    text = _text(path)
    match = _NAME.fullmatch(text)
    repository = "" if match is None else match["repository"] or ""
    revision = None if match is None else match["revision"]
    try:
        check_repository(repository)
    except ConfigError as error:
        raise ConfigError(
            f"{visible(text)!r} names no model of the Hugging Face Hub", expected=LIKE
        ) from error

    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ConfigError(
            f"{visible(text)!r}: {visible(revision)!r} is no revision",
            expected="a branch, a tag or a commit behind the @",
        )
    return repository, revision


@cache
def _folder(repository: str, revision: str | None) -> Path:
    """Fetch the card of a model, then the weights that it names; return their folder."""
    name = f"hf://{repository}" if revision is None else f"hf://{repository}@{revision}"
    hub = need("huggingface_hub", f"the model {name}", INSTALL)
    errors = need("huggingface_hub.errors", f"the model {name}", INSTALL)

    # a bar for so small a file would only flicker
    with _reported(errors, name), _quiet():
        folder = _of_commit(hub, repository, revision)
        folder = folder or _snapshot(hub, repository, revision, [CARD_FILE])
    if not (folder / CARD_FILE).is_file():
        raise _no_model(name, f"it has no {CARD_FILE}")

    # the branch may move meanwhile: the weights are those of the same commit
    weights = _weights_of(name, folder / CARD_FILE)
    if (folder / weights).is_file():
        return folder

    is_seen = sys.stderr.isatty()
    with _reported(errors, name), nullcontext() if is_seen else _quiet():
        folder = _snapshot(hub, repository, folder.name, [CARD_FILE, weights])
    if not (folder / weights).is_file():
        raise _no_model(name, f"its {CARD_FILE} names {weights}, which is not there")
    return folder


def _of_commit(hub: Any, repository: str, revision: str | None) -> Path | None:
    """Return the folder of a commit in the cache, which never changes; None where it is not."""
    if revision is None or not _COMMIT.fullmatch(revision):
        return None
    card = hub.try_to_load_from_cache(repository, CARD_FILE, revision=revision)
    return Path(card).parent if isinstance(card, str) else None


def _snapshot(hub: Any, repository: str, revision: str | None, files: Sequence[str]) -> Path:
    from emotailor import __version__

    found = hub.snapshot_download(
        repository,
        revision=revision,
        allow_patterns=list(files),
        library_name="emotailor",
        library_version=__version__,
    )
    return Path(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the Hub's library show no bars and no warnings: what is wrong, we say ourselves."""
    utils = need("huggingface_hub.utils", "the Hugging Face Hub", INSTALL)
    had_bars = not utils.are_progress_bars_disabled()
    logger = logging.getLogger("huggingface_hub")
    level = logger.level

    logger.setLevel(logging.ERROR)
    if had_bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if had_bars:
            utils.enable_progress_bars()


def _weights_of(name: str, card: Path) -> str:
    """Return the weights file that a card names.

    Raises:
        ModelError: it is no card of ours.
    """
    try:
        values = read_json(card, error=ModelError, fix="ask whoever published it")
    except ModelError as error:
        raise _no_model(name, f"its {error.found}") from error

    if values.get("format") != "emotailor-model":
        raise _no_model(name, f"its {CARD_FILE} is not of emotailor")
    named = values.get("weights")
    file = named.get("file") if isinstance(named, dict) else None
    if not isinstance(file, str) or not _WEIGHTS.fullmatch(file):
        raise _no_model(name, f"its {CARD_FILE} names no weights that could be read")
    return file


def _no_model(name: str, why: str) -> ModelError:
    return ModelError(
        f"{name} is no model of emotailor: {why}",
        expected="a repository that `emotailor publish` wrote",
        fix="check the name",
    )


@contextmanager
def _reported(errors: Any, name: str) -> Iterator[None]:
    """Say in one message why a model cannot be fetched.

    Raises:
        ModelError: it cannot.
    """
    try:
        yield
    except EmotailorError:
        raise
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{name} is gated: its owner lets in who has asked",
            fix="ask on its page for access, then log in with `hf auth login`",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise _not_found(name) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{name}: the repository has no such revision",
            expected="one of its branches, tags or commits",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ModelError(
            f"{name} is not whole in the cache, and the Hugging Face Hub cannot be reached",
            expected="a network, or a model that was fetched before",
            fix="connect, unset HF_HUB_OFFLINE if it is set, and try again",
        ) from error
    except errors.HFValidationError as error:
        raise ConfigError(
            f"{name} names no model of the Hugging Face Hub", expected=LIKE
        ) from error
    except Exception as error:
        if not _is_of_network(error, errors):
            raise
        if _status(error) in (401, 404):
            raise _not_found(name) from error
        reason = str(error).strip().splitlines()
        told = reason[0] if reason else type(error).__name__
        raise ModelError(
            f"{name} cannot be fetched: {visible(told)}",
            expected="an answer of the Hugging Face Hub",
            fix="try again later",
        ) from error


def _not_found(name: str) -> ModelError:
    return ModelError(
        f"there is no {name} on the Hugging Face Hub, or it is private",
        fix="check the name; for a private one, log in with `hf auth login`",
    )


def _status(error: Exception) -> int | None:
    """Return the status of an answer of HTTP; None where there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_of_network(error: Exception, errors: Any) -> bool:
    """Whether an error says that the Hub, or the way to it, failed: other errors are ours."""
    if isinstance(error, errors.HfHubHTTPError | errors.FileMetadataError):
        return True
    # which library of HTTP there is depends on the version of the Hub's
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(libraries & {"httpx", "httpx2", "httpcore", "requests"})
