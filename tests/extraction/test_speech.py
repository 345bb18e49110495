"""The recogniser: real speech, and by a stand-in of the model what it makes of strange answers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emotailor.errors import ConfigError, ModelError
from emotailor.extraction.base import RATE, Sound, Transcript
from emotailor.extraction.config import SpeechConfig, UtteranceConfig
from emotailor.extraction.speech import Recogniser, find_model
from emotailor.extraction.utterances import cut_utterances
from emotailor.extraction.voice import speech_regions
from emotailor.files import sha256_of
from tests.extraction.sounds import clip_sound, need_video, part_of


@pytest.fixture(scope="module")
def sound(shared_data: Path) -> Sound:
    need_video()
    return part_of(clip_sound(shared_data), 0, 13)


@pytest.fixture(scope="module")
def heard(sound: Sound) -> Transcript:
    return Recogniser(SpeechConfig(), threads=1).transcribe(sound)


# ---------------------------------------------------------------------- real speech


def test_words_of_real_speech(heard: Transcript) -> None:
    texts = [word.text for word in heard.words]
    assert texts[:4] == ["My", "name", "is", "Dr."]
    said = "I'm a member of the faculty in the School of Education at Sonoma State University."
    assert " ".join(texts[texts.index("I'm") :]).startswith(said)
    assert heard.language == "en"
    assert not heard.notes


def test_times_of_real_speech(sound: Sound, heard: Transcript) -> None:
    times = np.array([(word.start, word.end) for word in heard.words])
    assert (times[:, 1] - times[:, 0] >= 0.05).all()
    assert (times[1:, 0] >= times[:-1, 1]).all()
    assert times[0, 0] >= 0
    assert times[-1, 1] <= sound.duration

    # read off the loudness by eye
    by_text = {word.text: word for word in heard.words}
    assert by_text["My"].start == pytest.approx(1.45, abs=0.15)
    assert by_text["University."].end == pytest.approx(8.65, abs=0.3)
    assert all(word.probability is not None for word in heard.words)


def test_utterances_of_real_speech(sound: Sound, heard: Transcript) -> None:
    found = cut_utterances(heard.words, sound.duration, UtteranceConfig(), speech_regions(sound))
    # as CMU-MOSEI cuts it, which counts the silence between two to one of them
    first, second = found[:2]
    assert first.text.startswith("My name is Dr.")
    assert first.text.endswith("University.")
    assert (first.start, first.end) == pytest.approx((1.45, 8.65), abs=0.2)
    assert second.text.startswith("I also hold")
    assert (second.start, second.end) == pytest.approx((9.45, 11.95), abs=0.2)


def test_the_same_again_whatever_the_threads(sound: Sound, heard: Transcript) -> None:
    again = Recogniser(SpeechConfig(), threads=2).transcribe(sound)
    assert again == heard


def test_nothing_is_heard_in_silence_and_noise() -> None:
    need_video()
    noise = np.random.default_rng(3).normal(size=3 * RATE) * 2_000
    for samples in (np.zeros(0), np.zeros(2 * RATE), noise):
        found = Recogniser(SpeechConfig()).transcribe(Sound(samples.astype(np.int16)))
        assert found.words == ()


def test_the_fingerprint_has_the_hash_of_the_weights() -> None:
    need_video()
    recogniser = Recogniser(SpeechConfig())
    found = recogniser.extraction()
    assert found.sha256 == sha256_of(recogniser.folder / "model.bin")
    assert found.settings == {"beam": 5, "compute": "int8", "language": None, "longest": 28.0}
    assert not found.makes_the_same_as(Recogniser(SpeechConfig(longest=20)).extraction())


# ---------------------------------------------------------------------- finding a model


def test_a_model_that_is_not_here_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_video()
    monkeypatch.setattr("socket.socket.connect", _no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="not on this machine") as caught:
        find_model("small")
    assert "download_model" in str(caught.value.fix)


def _no_network(*_: Any) -> None:
    raise AssertionError("a connection was opened")


def test_a_name_that_nobody_knows() -> None:
    need_video()
    with pytest.raises(ConfigError, match="there is no speech model 'enormous'"):
        find_model("enormous")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    # faster-whisper would look for it in the network
    for name in ("model.bin", "config.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        find_model(str(tmp_path))


def test_damaged_weights(tmp_path: Path) -> None:
    need_video()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    recogniser = Recogniser(SpeechConfig(model=str(tmp_path)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        recogniser.transcribe(Sound(np.zeros(RATE, np.int16)), np.array([(0.0, 1.0)]))


def test_a_folder_is_taken_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.en").mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / "tiny.en" / name).touch()
    assert find_model("tiny.en") == Path("tiny.en")


# ---------------------------------------------------------------------- strange answers


def segment(*words: tuple[str, float, float, float], seek: int = 0) -> SimpleNamespace:
    """What faster-whisper says: text with its white space, start, end, probability."""
    found = [
        SimpleNamespace(word=text, start=start, end=end, probability=probability)
        for text, start, end, probability in words
    ]
    return SimpleNamespace(words=found, seek=seek)


@dataclass
class StandIn:
    """A model that says what it is told to."""

    segments: Iterable[SimpleNamespace]
    multilingual: bool = False
    detected: tuple[str, float] = ("fr", 0.75)
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def model(self) -> SimpleNamespace:
        return SimpleNamespace(is_multilingual=self.multilingual)

    @property
    def supported_languages(self) -> list[str]:
        return ["en", "fr", "zh"] if self.multilingual else ["en"]

    def transcribe(self, samples: np.ndarray, **options: Any) -> tuple[Any, None]:
        self.asked.append({"seconds": len(samples) / RATE, **options})
        return iter(self.segments), None

    def detect_language(self, samples: np.ndarray) -> tuple[str, float, list[Any]]:
        return *self.detected, []


def recognised(
    model: StandIn,
    *,
    seconds: float = 10.0,
    regions: Any = ((1.0, 9.0),),
    tmp_path: Path,
    **settings: Any,
) -> Transcript:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).touch()
    recogniser = Recogniser(SpeechConfig(model=str(tmp_path), **settings))
    recogniser._loaded = model
    recogniser._loaded_for = recogniser._threads
    sound = Sound(np.zeros(round(seconds * RATE), np.int16))
    return recogniser.transcribe(sound, np.array(regions, np.float64).reshape(-1, 2))


def texts_of(transcript: Transcript) -> list[str]:
    return [word.text for word in transcript.words]


def test_times_are_those_of_the_medium(tmp_path: Path) -> None:
    model = StandIn([segment((" Hello", 0.5, 1.0, 0.9))])
    found = recognised(model, regions=[(5.0, 7.0)], tmp_path=tmp_path)
    # the stretch begins 0.4 seconds before the region
    (word,) = found.words
    assert (word.text, word.probability) == ("Hello", 0.9)
    assert (word.start, word.end) == pytest.approx((5.1, 5.6))
    assert model.asked[0]["seconds"] == pytest.approx(2.8)
    assert model.asked[0]["temperature"] == 0
    assert model.asked[0]["condition_on_previous_text"] is False


def test_parts_without_white_space_belong_to_the_word_before(tmp_path: Path) -> None:
    words = [(" 50", 1.0, 1.3, 0.9), ("%", 1.3, 1.5, 0.6), (" -", 1.5, 1.6, 0.9)]
    found = recognised(StandIn([segment(*words)]), tmp_path=tmp_path)
    (word,) = found.words
    assert (word.text, word.probability) == ("50%", 0.6)
    assert (word.start, word.end) == pytest.approx((1.6, 2.1))


def test_words_outside_of_speech_are_dropped_and_clipped(tmp_path: Path) -> None:
    words = [
        (" Music", 0.7, 1.5, 0.9),  # 1.3 to 2.1: before anybody speaks
        (" We", 1.5, 4.6, 0.9),  # begins in the pause, says the model
        (" do", 4.6, 4.8, 0.9),
        (" Bye", 7.2, 7.9, 0.9),
    ]
    regions = [(1.0, 1.0), (5.0, 7.0)]
    found = recognised(StandIn([segment(*words)]), regions=regions, tmp_path=tmp_path)
    assert texts_of(found) == ["We", "do"]
    assert found.words[0].start == 5.0


def test_what_is_said_in_the_silence_at_the_end_is_dropped(tmp_path: Path) -> None:
    segments = [segment((" Yes", 0.5, 1.0, 0.9)), segment((" Thank", 8.5, 8.6, 0.9), seek=810)]
    assert texts_of(recognised(StandIn(segments), tmp_path=tmp_path)) == ["Yes"]


def test_a_loop_is_said_once(tmp_path: Path) -> None:
    words = [(f" {text}", i / 9, i / 9 + 0.1, 0.9) for i, text in enumerate("abc" * 7, 9)]
    assert texts_of(recognised(StandIn([segment(*words)]), tmp_path=tmp_path)) == list("abc")


def test_words_that_are_guesses_are_told(tmp_path: Path) -> None:
    unsure = StandIn([segment((" qua", 0.5, 1.0, 0.2), (" dos", 1.0, 2.0, 0.4))])
    (note,) = recognised(unsure, tmp_path=tmp_path).notes
    assert "0.30" in note
    assert "other than English" in note


def test_a_language_is_found_or_given(tmp_path: Path) -> None:
    model = StandIn([segment((" oui", 0.5, 1.0, 0.9))], multilingual=True)
    found = recognised(model, tmp_path=tmp_path)
    assert found.language == "fr"
    assert "0.75" in found.notes[0]

    given = recognised(model, language="en", tmp_path=tmp_path)
    assert given.language == "en"
    assert given.notes == ()
    assert [asked["language"] for asked in model.asked] == ["fr", "en"]


def test_words_of_a_language_without_spaces_stay_apart(tmp_path: Path) -> None:
    words = [("你好", 0.5, 1.0, 0.9), ("世界", 1.0, 2.0, 0.9)]
    found = recognised(
        StandIn([segment(*words)], multilingual=True), language="zh", tmp_path=tmp_path
    )
    assert texts_of(found) == ["你好", "世界"]


def test_a_language_that_the_model_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not know the language 'fr'"):
        recognised(StandIn([]), language="fr", tmp_path=tmp_path)


def test_progress_is_told_after_every_stretch(tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).touch()
    recogniser = Recogniser(SpeechConfig(model=str(tmp_path), longest=10))
    recogniser._loaded = StandIn([])
    recogniser._loaded_for = recogniser._threads
    sound = Sound(np.zeros(30 * RATE, np.int16))
    regions = np.array([(1.0, 6.0), (8.0, 14.0), (20.0, 29.0)])
    seen: list[float] = []
    recogniser.transcribe(sound, regions, seen.append)
    assert seen == pytest.approx([6.4, 14.4, 29.4])


def test_other_libraries_keep_their_number_of_threads() -> None:
    """CTranslate2 sets it for whoever shares its OpenMP, and PyTorch's last bits depend on it."""
    import torch

    before = torch.get_num_threads()
    Recogniser(SpeechConfig(), threads=before + 1).transcribe(
        Sound(np.zeros(RATE, np.int16)), np.array([[0.0, 1.0]])
    )
    assert torch.get_num_threads() == before
