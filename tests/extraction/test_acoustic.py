"""The 74 features of sound, each group against what it must be by hand or by scipy alone."""

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import get_window, lfilter, stft

from emotailor.extraction import acoustic
from emotailor.extraction.acoustic import (
    ACOUSTIC_FEATURES,
    ACOUSTIC_NAMES,
    acoustic_extraction,
    acoustic_features,
)
from emotailor.extraction.base import RATE, Sound, Timed
from emotailor.extraction.config import SoundConfig

SETTINGS = SoundConfig()


def sound_of(wave: np.ndarray) -> Sound:
    return Sound(np.round(wave * 32_767).astype(np.int16))


def tone(frequency: float, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float = 1.0, amplitude: float = 0.1) -> np.ndarray:
    return amplitude * np.random.default_rng(5).normal(size=round(seconds * RATE))


def vowel(frequency: float, seconds: float = 1.0) -> np.ndarray:
    """Pulses of a voice through the first three resonances of an "a"."""
    pulses = np.zeros(round(seconds * RATE))
    places = np.arange(0, len(pulses), RATE / frequency)
    pulses[places.astype(int)] = 1.0
    wave = pulses
    for centre, width in ((730, 90), (1090, 110), (2440, 170)):
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * centre / RATE
        wave = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], wave)
    return 0.5 * wave / np.abs(wave).max()


def features(wave: np.ndarray) -> Timed:
    return acoustic_features(sound_of(wave), SETTINGS)


def inner(found: Timed, name: str) -> np.ndarray:
    """A column without the rows at the ends, which see what is outside the sound."""
    return found.column(name)[3:-3]


def test_there_are_74_with_a_meaning_each() -> None:
    assert len(ACOUSTIC_NAMES) == 74 == len(set(ACOUSTIC_NAMES))
    assert all(ACOUSTIC_FEATURES.values())
    found = features(tone(300))
    assert found.names == ACOUSTIC_NAMES
    assert found.values.shape == (50, 74)


@pytest.mark.parametrize("frequency", [63.0, 110.0, 220.0, 331.0, 490.0])
def test_pitch_of_a_tone(frequency: float) -> None:
    found = features(tone(frequency))
    assert inner(found, "f0") == pytest.approx(frequency, rel=0.01)
    assert inner(found, "semitones") == pytest.approx(12 * np.log2(frequency / 55), abs=0.15)
    assert inner(found, "voiced").all()
    assert inner(found, "hnr").min() > 20


@pytest.mark.parametrize("frequency", [97.0, 130.0, 211.0])
def test_pitch_of_a_vowel(frequency: float) -> None:
    found = features(vowel(frequency))
    assert inner(found, "f0") == pytest.approx(frequency, rel=0.01)
    assert np.abs(inner(found, "f0_change")).max() < 0.2


def test_noise_has_no_pitch() -> None:
    found = features(noise(3.0))
    assert not found.column("voiced").any()
    assert not found.column("f0").any()
    assert not found.column("semitones").any()
    assert not found.column("f0_change").any()
    assert inner(found, "hnr").max() < 0


def test_pitch_that_rises_by_an_octave_a_second() -> None:
    times = np.arange(RATE) / RATE
    found = features(0.5 * np.sin(2 * np.pi * 110 / np.log(2) * (2**times - 1)))
    # from row to row, 12 semitones a second
    assert inner(found, "f0_change").mean() == pytest.approx(12 * 0.02, rel=0.02)


def test_a_hum_that_nobody_hears_has_no_pitch() -> None:
    assert not features(tone(120, amplitude=2e-4)).column("voiced").any()


@pytest.mark.parametrize("amplitude", [1.0, 0.5, 0.01])
def test_energy_and_peak_of_a_tone(amplitude: float) -> None:
    found = features(tone(1000, amplitude=amplitude))
    level = 20 * np.log10(amplitude)
    assert inner(found, "energy") == pytest.approx(level - 10 * np.log10(2), abs=0.02)
    assert inner(found, "peak") == pytest.approx(level, abs=0.05)
    # twice a period
    assert inner(found, "zero_crossings") == pytest.approx(2 * 1000 / RATE, rel=0.05)


def test_energy_that_rises_by_100_db_a_second() -> None:
    wave = tone(1000, amplitude=1.0) * 10 ** (-5 * (1 - np.arange(RATE) / RATE))
    loud = features(wave).column("energy_delta")[25:-3]
    assert loud == pytest.approx(100 * 0.02, rel=0.03)


def test_spectrum_of_a_tone_is_at_its_frequency() -> None:
    found = features(tone(2500))
    assert inner(found, "centroid") == pytest.approx(2.5, abs=0.01)
    assert inner(found, "rolloff") == pytest.approx(2.5, abs=0.05)
    assert inner(found, "spread").max() < 0.1
    assert inner(found, "flatness").max() < 0.01
    assert inner(found, "entropy").max() < 0.3
    assert inner(found, "alpha").max() < -30
    assert inner(found, "hammarberg").max() < -30


def test_spectrum_of_white_noise_is_flat() -> None:
    found = features(noise(4.0))
    # as far from 0 as from 8 kHz, and spread evenly
    assert inner(found, "centroid").mean() == pytest.approx(4.0, abs=0.05)
    assert inner(found, "spread").mean() == pytest.approx(8 / np.sqrt(12), abs=0.05)
    assert inner(found, "skewness").mean() == pytest.approx(0.0, abs=0.05)
    assert inner(found, "kurtosis").mean() == pytest.approx(np.log(1.8), abs=0.05)
    assert inner(found, "rolloff").mean() == pytest.approx(0.85 * 8, abs=0.1)
    assert inner(found, "entropy").mean() > 0.9
    assert inner(found, "slope").mean() == pytest.approx(0.0, abs=0.1)
    # a band of 950 Hz beside one of 4000
    assert inner(found, "alpha").mean() == pytest.approx(10 * np.log10(0.95 / 4), abs=0.3)


def test_flatness_of_white_noise_is_that_of_its_distribution() -> None:
    # the power of a point is exponential: its geometric mean is exp(-γ) of its mean
    assert inner(features(noise(4.0)), "flatness").mean() == pytest.approx(0.5615, abs=0.03)


def test_flux_of_a_steady_tone_and_of_one_that_jumps() -> None:
    steady = features(tone(1000))
    assert steady.column("flux")[0] == 0
    assert inner(steady, "flux").max() < 0.02

    jump = features(np.concatenate([tone(1000, 0.5), tone(3000, 0.5)]))
    assert jump.column("flux").argmax() in (24, 25)
    # nothing in common: the distance of two vectors of length 1 at a right angle, in two steps
    assert jump.column("flux")[24:26].sum() > 1.0


def test_bands_and_cepstrum_are_those_that_scipy_gives() -> None:
    sound = sound_of(vowel(140) + noise(amplitude=0.02))
    found = acoustic_features(sound, SETTINGS)

    # the window of a row reaches 12.5 ms to either side of its middle, so the first begins at -40
    window = get_window("hann", 400)
    wave = np.pad(sound.samples / 32_768, (40, 40))
    _, _, spectra = stft(wave, RATE, window, 400, 80, 512, boundary=None, padded=False)
    power = np.abs(spectra.T) ** 2 * window.sum() ** 2 * 2 / (512 * np.sum(window**2))

    highest = 2595 * np.log10(1 + 8000 / 700)
    corners = 700 * (10 ** (np.arange(28) / 27 * highest / 2595) - 1)
    hertz = np.arange(257) * RATE / 512
    weights = [np.interp(hertz, corners[i : i + 3], [0, 1, 0]) for i in range(26)]
    bands = 10 * np.log10(power @ np.transpose(weights))

    assert len(bands) == 50
    for i in range(26):
        assert found.column(f"mel_{i}") == pytest.approx(bands[:, i], abs=1e-3)
    cepstrum = dct(bands, norm="ortho")
    for i in range(13):
        assert found.column(f"mfcc_{i}") == pytest.approx(cepstrum[:, i], abs=1e-3)


def test_deltas_are_slopes_over_five_rows() -> None:
    found = features(vowel(140) * np.linspace(0, 1, RATE))
    for name in ("energy", "centroid", "mfcc_0", "mfcc_12"):
        column = found.column(name).astype(np.float64)
        slopes = [np.polyfit(range(5), column[i - 2 : i + 3], 1)[0] for i in range(2, 48)]
        assert found.column(f"{name}_delta")[2:48] == pytest.approx(slopes, abs=1e-4)


def test_silence_and_clipping_are_finite() -> None:
    silent = features(np.zeros(RATE))
    assert np.isfinite(silent.values).all()
    assert silent.column("energy") == pytest.approx(-100)
    assert not silent.column("voiced").any()

    clipped = Sound(np.tile(np.array([32_767, -32_768], np.int16), RATE // 2))
    assert np.isfinite(acoustic_features(clipped, SETTINGS).values).all()
    constant = Sound(np.full(RATE, -32_768, np.int16))
    assert np.isfinite(acoustic_features(constant, SETTINGS).values).all()


def test_where_a_block_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sound_of(np.concatenate([vowel(120), noise(0.5), tone(300, 0.31)]))
    whole = acoustic_features(sound, SETTINGS)
    monkeypatch.setattr(acoustic, "_BLOCK", 7)
    in_blocks = acoustic_features(sound, SETTINGS)
    assert in_blocks.values == pytest.approx(whole.values, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 5_000])
def test_rows_cover_the_sound(samples: int) -> None:
    sound = Sound(np.ones(samples, np.int16))
    found = acoustic_features(sound, SETTINGS)
    assert found.values.shape == (-(-samples // 320), 74)
    assert found.intervals.shape == (len(found.values), 2)
    assert np.isfinite(found.values).all()
    if samples:
        assert found.intervals[0, 0] == 0
        assert found.intervals[-1, 1] == sound.duration
        assert (found.intervals[1:, 0] == found.intervals[:-1, 1]).all()


def test_a_step_that_is_no_whole_number_of_samples() -> None:
    found = acoustic_features(sound_of(tone(220, 3.0)), SoundConfig(step=1 / 30))
    assert len(found.values) == 90
    assert inner(found, "f0") == pytest.approx(220, rel=0.01)


def test_the_fingerprint_tells_steps_apart() -> None:
    ours = acoustic_extraction(SETTINGS)
    assert ours.makes_the_same_as(acoustic_extraction(SoundConfig(step=0.02)))
    assert not ours.makes_the_same_as(acoustic_extraction(SoundConfig(step=0.01)))
    assert ours.settings == {"step": 0.02, "rate": 16_000, "features": 74}
