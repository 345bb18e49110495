"""Where somebody speaks, in real speech, in silence and in noise."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.errors import ConfigError
from emotailor.extraction import voice
from emotailor.extraction.base import RATE, Sound
from emotailor.extraction.voice import speech_probabilities, speech_regions
from tests.extraction.sounds import clip_sound, need_video, part_of


@pytest.fixture(scope="module")
def sound(shared_data: Path) -> Sound:
    need_video()
    return part_of(clip_sound(shared_data), 0, 13)


def test_regions_of_real_speech(sound: Sound) -> None:
    # heard: silence, "My name is … Sims", a breath, "I'm a member … University", "I also hold …"
    regions = speech_regions(sound)
    expected = [(1.41, 3.90), (4.23, 8.80), (9.38, 12.00), (12.48, 13.00)]
    assert regions == pytest.approx(np.array(expected), abs=0.03)


def test_probabilities_are_those_of_faster_whisper(sound: Sound) -> None:
    from faster_whisper.vad import get_vad_model

    filled = np.zeros(-(-len(sound.samples) // 512) * 512, np.float32)
    filled[: len(sound.samples)] = sound.samples
    theirs = get_vad_model()(filled / 32_768)
    assert speech_probabilities(sound) == pytest.approx(theirs.reshape(-1), abs=1e-6)


def test_where_a_block_ends_changes_nothing(sound: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = speech_probabilities(sound)
    monkeypatch.setattr(voice, "_BLOCK", 13)
    assert speech_probabilities(sound) == pytest.approx(whole, abs=1e-5)


def test_nobody_speaks_in_silence_noise_and_music() -> None:
    need_video()
    times = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(7).normal(size=len(times)) * 3_000
    chord = sum(4_000 * np.sin(2 * np.pi * f * times) for f in (220.0, 277.2, 329.6))
    for wave in (np.zeros(len(times)), noise, chord):
        sound = Sound(np.asarray(wave).astype(np.int16))
        assert speech_regions(sound).shape == (0, 2)


def test_no_sound_at_all() -> None:
    assert speech_regions(Sound(np.zeros(0, np.int16))).shape == (0, 2)


def test_regions_end_after_silence_and_not_in_a_dip() -> None:
    probabilities = np.zeros(100, np.float32)
    probabilities[10:30] = 0.9
    probabilities[18:22] = 0.1  # 0.13 s: part of the speech
    probabilities[40:50] = 0.9
    probabilities[50:60] = 0.4  # no longer sure, but not silent
    probabilities[80:82] = 0.9  # 0.06 s: a click
    regions = voice._regions_of(probabilities)
    padding = np.array([-0.06, 0.06])
    assert regions == pytest.approx(np.array([[10, 30], [40, 60]]) * 0.032 + padding)


def test_speech_to_the_very_end() -> None:
    probabilities = np.zeros(20, np.float32)
    probabilities[10:] = 0.9
    assert voice._regions_of(probabilities) == pytest.approx(np.array([[0.26, 0.70]]))


def test_a_package_without_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"silero_vad_v6\.onnx"):
        voice._network_in(tmp_path)
