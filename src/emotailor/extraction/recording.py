"""One video, from its file to what the rest of emotailor needs: a :class:`Recording`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from emotailor.cores import usable_cores
from emotailor.data.extraction import Extraction
from emotailor.data.readers._common import require_file
from emotailor.data.sample import Modality
from emotailor.errors import DataError, ModelError
from emotailor.extraction.base import Medium, Recording, Sound, Timed, Transcript
from emotailor.extraction.beside import Beside
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.decoding import Decoded, decode
from emotailor.extraction.face import COLUMNS, FaceFollower, face_extraction
from emotailor.extraction.face_model import FaceModel, find_face_model
from emotailor.extraction.find import Found
from emotailor.extraction.media import open_medium
from emotailor.extraction.sound_features import sound_features
from emotailor.extraction.speech import Recogniser
from emotailor.extraction.transcripts import read_transcript
from emotailor.extraction.utterances import cut_utterances
from emotailor.extraction.voice import speech_regions
from emotailor.extraction.workers import Tell
from emotailor.files import sha256_of

_LOOKED = 0.6  # share of the work that decoding and looking for faces is
_DECODED = 0.1  # share of the listening that decoding sound alone is
_VOICED = 0.1  # share of the rest that finding speech and the features of the sound are
_BLOCK = 1 << 20  # samples that are compared at a time


@dataclass(frozen=True, eq=False)
class _Heard:
    """What there is to hear in a sound."""

    sound: Sound | None
    regions: Float64[np.ndarray, "regions 2"] | None
    voice: Timed | None
    said: Transcript


@dataclass(frozen=True)
class Task:
    """A video to extract, as another process is told of it.

    Attributes:
        video: the video.
        config: what is extracted, and how.
        transcript: file with what is said; None where that is recognised.
        face_model: file of the face landmarker; None for the usual place.
        threads: of the processor for this video; None for as many as there are.
    """

    video: Found
    config: ExtractionConfig
    transcript: Path | None = None
    face_model: Path | None = None
    threads: int | None = None


def extract_task(task: Task, tell: Tell) -> Recording:
    """Extract a video, in a process for that.

    Raises:
        EmotailorError: it cannot be extracted.
    """
    # a pipe would never end
    require_file(task.video.path, "a video or a sound")
    return extractor_of(task).extract(task.video.path, task.transcript, tell)


def extractor_of(task: Task) -> "Extractor":
    """Return what extracts the videos of this process, one after the other."""
    return _extractor(task.config, task.face_model, task.threads)


@lru_cache(maxsize=1)
def _extractor(
    config: ExtractionConfig, face_model: Path | None, threads: int | None
) -> "Extractor":
    return Extractor(config, face_model, threads=threads)


class Extractor:
    """Extracts one video after the other; models are loaded at their first use, and once.

    Args:
        config: what is extracted, and how.
        face_model: file of the face landmarker; by default where :func:`find_face_model` looks.
        threads: of the processor; by default as many as there are. With two and more, the words of
            a video are found beside the faces; what is found does not depend on it.

    Raises:
        ConfigError: a library or a model is not there.
    """

    def __init__(
        self,
        config: ExtractionConfig,
        face_model: Path | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.config = config
        self._threads = threads
        self._cores = threads or usable_cores()
        self._face_model: FaceModel | None = None
        if config.visual == "face":
            self._face_model = find_face_model(face_model)
        self._of_sound = sound_features(config)
        self._recogniser: Recogniser | None = None

    @classmethod
    def with_what_is_there(
        cls, config: ExtractionConfig, face_model: Path | None = None
    ) -> tuple["Extractor", list[str]]:
        """Return an extractor that does without faces where their model is not there.

        Whether a model for emotions needs faces shows elsewhere, and is refused there.

        Args:
            config: what is extracted, and how.
            face_model: as for the class; one that is named has to be there.

        Returns:
            The extractor, and what to note of its recordings.

        Raises:
            ConfigError: a library is not there.
        """
        try:
            return cls(config, face_model), []
        except ModelError:
            if face_model is not None:
                raise
            # the note goes along with results: it names no place of this machine
            note = (
                "no face was looked for: their model is not here, or damaged; `emotailor data "
                "face-model` says which, and what to do"
            )
            return cls(config.replace(visual="none")), [note]

    @property
    def extractions(self) -> dict[Modality, Extraction]:
        """How picture and sound become features."""
        found: dict[Modality, Extraction] = {}
        if self._face_model is not None:
            found["visual"] = face_extraction(self._face_model, self.config.picture)
        if self._of_sound is not None:
            found["audio"] = self._of_sound.extraction
        return found

    @property
    def recogniser(self) -> Recogniser:
        """What finds words in sound."""
        if self._recogniser is None:
            self._recogniser = Recogniser(self.config.speech, threads=self._threads)
        return self._recogniser

    def check_recogniser(self) -> None:
        """Refuse a recogniser that is not there.

        Raises:
            ConfigError: it is not installed, or there is no such model here.
        """
        _ = self.recogniser

    @property
    def dims(self) -> dict[Modality, int]:
        """Width of what is extracted, but for text."""
        found: dict[Modality, int] = {}
        if self._face_model is not None:
            found["visual"] = len(COLUMNS)
        if self._of_sound is not None:
            found["audio"] = len(self._of_sound.names)
        return found

    def settings(self, transcript: Path | None = None) -> dict[str, Any]:
        """Return everything that changes what is extracted of a video.

        Args:
            transcript: file with what is said in it; None where that is recognised.
        """
        told: dict[str, Any] = {"config": self.config.to_json()}
        for m, extraction in self.extractions.items():
            told[m] = extraction.fingerprint
        if transcript is None:
            told["words"] = self.recogniser.extraction().fingerprint
        else:
            told["words"] = sha256_of(transcript)
        return told

    def extract(
        self, path: Path, transcript: Path | None = None, tell: Tell = lambda _: None
    ) -> Recording:
        """Return what can be extracted of a video or a sound.

        Args:
            path: the file.
            transcript: a file with what is said in it, instead of a recogniser.
            tell: takes how much is done, from 0 to 1.

        Raises:
            DataError: nothing of the file can be decoded, or the transcript is damaged.
        """
        clock = _Clock()
        medium = open_medium(path)
        if self._is_heard_beside(medium, transcript):
            with clock.measuring("everything at once"):
                decoded, face, heard = self._at_once(medium, tell)
        else:
            decoded, face = self._decode(medium, clock, _scaled(tell, 0.0, _LOOKED))
            heard = self._listen(
                decoded.sound, transcript, decoded.duration, clock, _scaled(tell, _LOOKED, 1.0)
            )

        said = heard.said
        utterances = cut_utterances(
            said.words, decoded.duration, self.config.utterance, heard.regions
        )
        notes = [*medium.notes, *decoded.notes, *said.notes]
        notes += _lacking(medium, decoded.sound, said)
        return Recording(
            medium,
            decoded.duration,
            tuple(utterances),
            face,
            heard.voice,
            tuple(notes),
            clock.seconds,
        )

    # ------------------------------------------------------------------ looking and listening

    def _is_heard_beside(self, medium: Medium, transcript: Path | None) -> bool:
        """Whether words are found while faces are, each on a core."""
        if self._face_model is None or transcript is not None or self._cores < 2:
            return False
        return medium.picture is not None and medium.sound

    def _at_once(self, medium: Medium, tell: Tell) -> tuple[Decoded, Timed | None, _Heard]:
        """Look in this thread, and listen in another one.

        That one decodes the sound first, by itself. What counts is the sound of the whole pass: in
        a damaged file, the clock of the pictures may put it elsewhere. Then it is listened to anew.
        """
        with Beside(partial(self._listen_ahead, medium)) as listening:

            def looked(share: float) -> None:
                listening.check()
                tell(_LOOKED * share + (1 - _LOOKED) * listening.share)

            decoded, face = self._decode(medium, _Clock(), looked)
            ahead = listening.result(_scaled(tell, _LOOKED, 1.0))

        if ahead is not None and _are_same(ahead.sound, decoded.sound):
            return decoded, face, ahead
        heard = self._listen(decoded.sound, None, decoded.duration, _Clock(), lambda _: None)
        return decoded, face, heard

    def _listen_ahead(self, medium: Medium, tell: Tell) -> _Heard | None:
        """Listen to the sound of a file, whose pictures others look at meanwhile."""

        def progress(seconds: float) -> None:
            tell(_DECODED * seconds / max(medium.duration or seconds, seconds))

        try:
            decoded = decode(medium, progress=progress)
        except DataError:  # whether that is an error, the whole pass says
            return None

        # the other core is for the pictures
        return self._listen(
            decoded.sound,
            None,
            decoded.duration,
            _Clock(),
            _scaled(tell, _DECODED, 1.0),
            threads=self._cores - 1,
        )

    def _listen(
        self,
        sound: Sound | None,
        transcript: Path | None,
        duration: float,
        clock: "_Clock",
        tell: Tell,
        *,
        threads: int | None = None,
    ) -> _Heard:
        """Find out what there is to hear, in a sound and in what somebody wrote down."""
        tell(0.0)
        regions = None
        if sound is not None:
            with clock.measuring("voice"):
                regions = speech_regions(sound)
        voice = None
        if sound is not None and self._of_sound is not None:
            tell(_VOICED / 2)
            with clock.measuring("sound"):
                voice = self._of_sound.features(sound)

        def on_progress(seconds: float) -> None:
            tell(_VOICED + (1 - _VOICED) * seconds / max(duration, seconds))

        on_progress(0.0)
        with clock.measuring("words"):
            if transcript is not None:
                said = read_transcript(transcript, duration, regions)
            elif sound is None:
                said = Transcript(())
            else:
                said = self.recogniser.transcribe(sound, regions, on_progress, threads=threads)
        return _Heard(sound, regions, voice, said)

    def _decode(self, medium: Medium, clock: "_Clock", tell: Tell) -> tuple[Decoded, Timed | None]:
        """Go through the pictures and the sound of a file once."""

        def progress(seconds: float) -> None:
            tell(seconds / max(medium.duration or seconds, seconds))

        picture = self.config.picture
        if self._face_model is None or medium.picture is None:
            with clock.measuring("decoding"):
                return decode(medium, progress=progress), None

        with (
            clock.measuring("decoding and face"),
            FaceFollower(self._face_model, picture) as follower,
        ):
            decoded = decode(
                medium,
                pictures_per_second=picture.per_second,
                most_pixels=picture.most_pixels,
                on_picture=follower.look,
                progress=progress,
            )
            return decoded, follower.result()


class _Clock:
    """Adds up the processor seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measuring(self, stage: str) -> Iterator[None]:
        start = time.process_time()
        yield
        spent = time.process_time() - start
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 3)


def _scaled(tell: Tell, first: float, last: float) -> Tell:
    """Return what takes the share of a part, and tells that of the whole."""

    def tell_whole(share: float) -> None:
        tell(first + (last - first) * share)

    return tell_whole


def _are_same(first: Sound | None, second: Sound | None) -> bool:
    """Whether two sounds have the same samples, compared in blocks."""
    if first is None or second is None:
        return first is second
    length = len(first.samples)
    if length != len(second.samples):
        return False

    for begin in range(0, length, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        if not np.array_equal(first.samples[block], second.samples[block]):
            return False
    return True


def _lacking(medium: Medium, sound: Sound | None, said: Transcript) -> list[str]:
    """Say what there is nothing of; of the face its own notes do."""
    notes = []
    if medium.picture is None:
        notes.append("there are no pictures: no face was looked for")
    if sound is None:
        notes.append("there is no sound")
    if not said.words:
        notes.append("nobody says anything")
    return notes
