"""openSMILE's features of sound: in blocks as at once, named, refused where others are needed.

What only openSMILE itself can show needs the extra ``opensmile``, whose licence forbids commercial
use; a stand-in takes its place elsewhere.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from emotailor.data.extraction import check_extraction
from emotailor.errors import ConfigError, ModelError
from emotailor.extraction import opensmile
from emotailor.extraction.base import RATE, Sound
from emotailor.extraction.config import ExtractionConfig, SoundConfig
from emotailor.extraction.opensmile import OpenSmile
from emotailor.extraction.recording import Extractor

FINE = SoundConfig(step=0.01)


class StandIn:
    """Two numbers for every 10 milliseconds: of a window of 60, and of the 20 rows before too."""

    feature_names = ("sum", "memory")

    def __init__(self, **_: object) -> None:
        self.longest = 0

    def __call__(self, signal: np.ndarray, rate: int) -> np.ndarray:
        assert rate == RATE
        assert abs(signal).max() <= 1
        self.longest = max(self.longest, len(signal))
        windows = np.lib.stride_tricks.sliding_window_view(np.rint(signal * 32_768), 960)[::160]
        sums = windows.sum(1)
        memory = np.convolve(sums, np.ones(21))[: len(sums)]
        return np.stack([sums, memory])[None]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    level = SimpleNamespace(LowLevelDescriptors="lld")
    module = SimpleNamespace(
        Smile=StandIn, FeatureSet=SimpleNamespace(eGeMAPSv02="x"), FeatureLevel=level
    )
    monkeypatch.setitem(sys.modules, "opensmile", module)


def noise(samples: int) -> Sound:
    drawn = np.random.default_rng(3).integers(-9, 10, samples)
    return Sound(drawn.astype(np.int16))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("samples", [960, 48_000, 48_000 + 16_000, 64_001, 100_003])
def test_blocks_give_the_rows_of_one_pass(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(samples)
    whole = OpenSmile(FINE).features(sound)
    monkeypatch.setattr(opensmile, "_BLOCK", 100)
    monkeypatch.setattr(opensmile, "_BEFORE", 20)
    monkeypatch.setattr(opensmile, "_BEHIND", 6)
    smile = OpenSmile(FINE)
    parts = smile.features(sound)
    assert len(whole.values) == (samples - 960) // 160 + 1
    assert np.array_equal(parts.values, whole.values)
    assert np.array_equal(parts.intervals, whole.intervals)
    assert ["commercial" in note for note in parts.notes] == [True]
    # an hour of sound takes no more at once
    assert smile._smile.longest <= 126 * 160


@pytest.mark.usefixtures("stand_in")
def test_rows_between_are_left_out_and_the_last_ends_with_the_sound() -> None:
    sound = noise(1760)  # 110 milliseconds: rows at 0, 10, 20, 30, 40 and 50
    fine = OpenSmile(FINE).features(sound)
    coarse = OpenSmile(SoundConfig()).features(sound)
    assert np.array_equal(coarse.values, fine.values[::2])
    assert coarse.intervals.tolist() == pytest.approx(
        np.array([[0, 0.02], [0.02, 0.04], [0.04, 0.11]])
    )
    assert len(OpenSmile(FINE).features(noise(959)).values) == 0


def test_a_step_that_openSMILE_does_not_have() -> None:
    for step in (0.015, 0.004):
        with pytest.raises(ConfigError) as caught:
            OpenSmile(SoundConfig(step=step))
        assert caught.value.found == f"sound.step={step:g} with openSMILE"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    config = ExtractionConfig(audio="opensmile", visual="none")
    with pytest.raises(ConfigError) as caught:
        Extractor(config)
    assert caught.value.fix is not None
    assert 'pip install "emotailor[opensmile]"' in caught.value.fix
    assert "commercial" in caught.value.fix


@pytest.mark.usefixtures("stand_in")
def test_the_features_are_those_of_openSMILE_in_a_fingerprint() -> None:
    extractor = Extractor(ExtractionConfig(audio="opensmile", visual="none"))
    found = extractor.extractions["audio"]
    assert (found.extractor, found.settings["set"]) == ("openSMILE", "eGeMAPSv02")
    assert found.settings["features"] == ["sum", "memory"]
    assert extractor.dims == {"audio": 2}

    # a model that was trained on other features refuses them
    ours = Extractor(ExtractionConfig(visual="none")).extractions
    assert ours["audio"].extractor == "emotailor-acoustic"
    with pytest.raises(ModelError, match="audio of a clip was extracted with openSMILE"):
        check_extraction(extractor.extractions, ours, ["audio"], "a clip")
    finer = ExtractionConfig(audio="opensmile", visual="none", sound=FINE)
    with pytest.raises(ModelError):
        check_extraction(Extractor(finer).extractions, extractor.extractions, ["audio"], "a clip")


# ---------------------------------------------------------------------- openSMILE itself


def spoken(seconds: int) -> Sound:
    """A voice of 220 Hz for .7 of every second."""
    time = np.arange(seconds * RATE) / RATE
    wave = sum(np.sin(2 * np.pi * 220 * k * time) / k for k in range(1, 9))
    sounding = time % 1 < 0.7
    hum = np.random.default_rng(5).normal(size=len(time)) * 20
    return Sound((wave * sounding * 6000 + hum).astype(np.int16))


def need_opensmile() -> None:
    """Skip where the extra ``opensmile`` is not installed."""
    pytest.importorskip("opensmile", reason="needs the extra opensmile, not for commercial use")


def test_it_hears_the_pitch_of_a_voice() -> None:
    need_opensmile()
    smile = OpenSmile(SoundConfig())
    found = smile.features(spoken(3))
    assert len(smile.names) == 25
    assert np.isfinite(found.values).all()
    pitch = found.column("F0semitoneFrom27.5Hz_sma3nz")
    start = found.intervals[:, 0]
    assert np.median(pitch[(start > 0.1) & (start < 0.6)]) == pytest.approx(36, abs=0.3)
    assert (pitch[(start > 0.8) & (start < 0.9)] == 0).all()
    loudness = found.column("Loudness_sma3")
    assert loudness[(start > 0.1) & (start < 0.6)].min() > 5 * loudness[start > 2.8].max()
    assert smile.extraction.version


def test_a_voice_in_blocks_is_the_voice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    need_opensmile()
    sound = spoken(11)
    whole = OpenSmile(FINE).features(sound)
    monkeypatch.setattr(opensmile, "_BLOCK", 333)
    monkeypatch.setattr(opensmile, "_BEFORE", 150)
    parts = OpenSmile(FINE).features(sound)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-4, atol=1e-4)
