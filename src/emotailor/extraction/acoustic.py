"""What is heard besides the words: 74 features of the sound for every step, by NumPy and SciPy.

They are in the spirit of COVAREP, whose features CMU-MOSEI has: pitch and voicing, energy, the
shape of the spectrum, cepstral coefficients. They are not COVAREP's, so a model that was trained on
those does not take them.

All of a row is of the sound around the middle of its step. The sound is read in blocks, each with
what its first row needs of the block before: where a block ends changes nothing.
"""

import math

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.fft import dct, irfft, next_fast_len, rfft

from emotailor.data.extraction import Extraction
from emotailor.extraction.base import RATE, Sound, Timed
from emotailor.extraction.config import SoundConfig

BANDS = 26
COEFFICIENTS = 13

ACOUSTIC_FEATURES: dict[str, str] = {
    "f0": "pitch in Hz, from 60 to 500, by YIN; 0 where nothing is voiced",
    "semitones": "pitch in semitones above 55 Hz; 0 where nothing is voiced",
    "f0_change": "semitones since the row before; 0 unless both are voiced",
    "voiced": "1 where there is a pitch, else 0",
    "periodicity": "how much the sound repeats itself at its best period, from 0 to 1",
    "hnr": "harmonics to noise in dB, from -20 to 40",
    "energy": "mean power in dB; a sine that fills the range has -3, silence -100",
    "energy_delta": "slope of energy over five rows, in dB a row",
    "peak": "largest absolute sample in dB",
    "zero_crossings": "changes of sign, as a share of the samples",
    "centroid": "mean frequency of the power spectrum, in kHz",
    "centroid_delta": "slope of the centroid over five rows, in kHz a row",
    "spread": "standard deviation of the power spectrum, in kHz",
    "skewness": "third standardised moment of the power spectrum",
    "kurtosis": "natural logarithm of the fourth standardised moment of the power spectrum",
    "rolloff": "frequency below which 85 % of the power lies, in kHz",
    "flatness": "geometric over arithmetic mean of the power: 1 for white noise, 0 for a tone",
    "entropy": "entropy of the power spectrum, as a share of the largest possible",
    "flux": "distance to the spectrum of the row before, both of length 1; 0 in the first row",
    "slope": "slope of the spectrum, in dB a kHz",
    "alpha": "power from 50 to 1000 Hz over that from 1 to 5 kHz, in dB",
    "hammarberg": "highest level below 2 kHz over the highest from 2 to 5 kHz, in dB",
    **{f"mfcc_{i}": f"cepstral coefficient {i} of the mel bands" for i in range(COEFFICIENTS)},
    **{
        f"mfcc_{i}_delta": f"slope of cepstral coefficient {i} over five rows"
        for i in range(COEFFICIENTS)
    },
    **{f"mel_{i}": f"power in mel band {i} of {BANDS}, in dB" for i in range(BANDS)},
}
"""Name of each feature, in the order of the columns -> what it is."""

ACOUSTIC_NAMES = tuple(ACOUSTIC_FEATURES)

VERSION = "1"
"""Grows whenever a value changes."""

_SPECTRUM = 400  # samples of a spectrum: 25 milliseconds
_POINTS = 512  # of its Fourier transform
_LOWEST, _HIGHEST = 60.0, 500.0  # Hz of a voice
_PITCH = 512  # samples that are compared with those a period later
_LAGS = int(RATE / _LOWEST) + 1
_SHORTEST_LAG = int(RATE / _HIGHEST)
_UNLIKE = 0.2  # normalised difference above which nothing is voiced
_FAINTEST = -65.0  # dB below which nothing is voiced: noise of a microphone may hum
_FLOOR = 1e-10  # power that counts as silence: -100 dB
_BLOCK = 1500  # rows

_DELTAS = {
    "energy": "energy_delta",
    "centroid": "centroid_delta",
    **{f"mfcc_{i}": f"mfcc_{i}_delta" for i in range(COEFFICIENTS)},
}


def acoustic_features(sound: Sound, settings: SoundConfig) -> Timed:
    """Return 74 features for every step of a sound.

    Args:
        sound: of any length; it is read in blocks.
        settings: the length of a step.

    Returns:
        Rows of :data:`ACOUSTIC_NAMES`, from 0 to the end of the sound without a gap. All values are
        finite. The last step ends with the sound.
    """
    hop = settings.step * RATE
    # rounding must not add a row
    rows = math.ceil(len(sound.samples) / hop - 1e-9)
    values = np.zeros((rows, len(ACOUSTIC_NAMES)), np.float32)

    for first in range(0, rows, _BLOCK):
        last = min(first + _BLOCK, rows)
        # the flux of its first row needs the row before
        before = max(first - 1, 0)
        middles = (np.arange(before, last) + 0.5) * hop
        block = _block_features(sound, middles.astype(np.int64))
        block[0, _column("flux")] *= first > 0
        values[first:last] = block[first - before :]

    _fill_changes(values)
    intervals = _intervals(rows, settings.step, sound.duration)
    return Timed(ACOUSTIC_NAMES, values, intervals)


def acoustic_extraction(settings: SoundConfig) -> Extraction:
    """Return what makes these features those and no others."""
    return Extraction(
        extractor="emotailor-acoustic",
        version=VERSION,
        settings={"step": settings.step, "rate": RATE, "features": len(ACOUSTIC_NAMES)},
    )


def _intervals(rows: int, step: float, duration: float) -> Float64[np.ndarray, "n 2"]:
    edges = np.minimum(np.arange(rows + 1) * step, duration)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _column(name: str) -> int:
    return ACOUSTIC_NAMES.index(name)


# ---------------------------------------------------------------------- a block


def _block_features(
    sound: Sound, middles: Int64[np.ndarray, "rows"]
) -> Float32[np.ndarray, "rows dim"]:
    """Return all features but the changes over time, which need the rows of other blocks.

    The flux of the first row is 0.
    """
    around = _around(sound, middles, _PITCH + _LAGS)
    inner = (around.shape[1] - _SPECTRUM) // 2
    frames = around[:, inner : inner + _SPECTRUM]

    energy = _decibels(np.mean(frames**2, axis=1))
    spectrum = _spectrum(frames)
    levels = _decibels(spectrum @ _mel_filters().T)
    cepstrum = dct(levels, type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]

    columns: dict[str, np.ndarray] = {
        **_pitch_columns(around, energy),
        "energy": energy,
        "peak": _decibels(np.abs(frames).max(axis=1) ** 2),
        "zero_crossings": _zero_crossings(frames),
        **_shape_columns(spectrum),
    }
    columns.update(_numbered("mfcc", cepstrum))
    columns.update(_numbered("mel", levels))

    values = np.zeros((len(middles), len(ACOUSTIC_NAMES)), np.float32)
    for name, column in columns.items():
        values[:, _column(name)] = column
    return values


def _numbered(name: str, values: Float[np.ndarray, "rows columns"]) -> dict[str, np.ndarray]:
    return {f"{name}_{i}": column for i, column in enumerate(values.T)}


def _around(
    sound: Sound, middles: Int64[np.ndarray, "rows"], width: int
) -> Float64[np.ndarray, "rows width"]:
    """Return the samples around each middle, from -1 to 1; zeros outside the sound."""
    half = width // 2
    begin = int(middles[0]) - half
    end = int(middles[-1]) - half + width
    stretch = np.zeros(end - begin)

    inside = sound.samples[max(begin, 0) : end]
    skipped = max(-begin, 0)
    stretch[skipped : skipped + len(inside)] = inside
    stretch /= 32_768

    windows = np.lib.stride_tricks.sliding_window_view(stretch, width)
    return windows[middles - middles[0]]


def _decibels(power: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    return 10 * np.log10(np.maximum(power, _FLOOR))


def _zero_crossings(frames: Float64[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows"]:
    positive = frames >= 0
    changes = positive[:, 1:] != positive[:, :-1]
    return changes.mean(axis=1)


# ---------------------------------------------------------------------- pitch


def _pitch_columns(
    around: Float64[np.ndarray, "rows width"], energy: Float64[np.ndarray, "rows"]
) -> dict[str, Float64[np.ndarray, "rows"]]:
    """Return pitch and voicing by YIN.

    Source: de Cheveigné and Kawahara, 2002, "YIN, a fundamental frequency estimator for speech and
    music", steps 1 to 5.
    """
    difference, energies = _difference(around)
    normalised = _normalised(difference)
    lags = _best_lags(normalised)

    refined, unlike = _refined(normalised, lags)
    heard = energy > _FAINTEST
    voiced = heard & (unlike < _UNLIKE)
    pitch = np.clip(RATE / refined, _LOWEST, _HIGHEST)
    f0 = np.where(voiced, pitch, 0.0)
    semitones = np.where(voiced, 12 * np.log2(pitch / 55), 0.0)

    # the share of the power that comes again a period later
    _, differing = _refined(difference, lags)
    rows = np.arange(len(lags))
    total = energies[rows, 0] + energies[rows, lags]
    repeated = 1 - differing / np.maximum(total, _FLOOR)
    periodicity = np.where(heard, np.clip(repeated, 0.0, 1.0), 0.0)

    share = np.clip(periodicity, 1e-4, 1 - 1e-5)
    hnr = np.clip(10 * np.log10(share / (1 - share)), -20.0, 40.0)
    return {
        "f0": f0,
        "semitones": semitones,
        "voiced": voiced.astype(np.float64),
        "periodicity": periodicity,
        "hnr": hnr,
    }


def _difference(
    around: Float64[np.ndarray, "rows width"],
) -> tuple[Float64[np.ndarray, "rows lags"], Float64[np.ndarray, "rows lags"]]:
    """Return YIN's difference function, and the power of what is compared, for all lags from 0.

    The difference of a stretch a and the one a lag later b is the sum of (a - b)², which is
    a·a + b·b - 2 a·b; the last for all lags at once by the Fourier transform.
    """
    points = next_fast_len(around.shape[1], real=True)
    stretch = rfft(around[:, :_PITCH], points)
    later = rfft(around, points)
    products = irfft(stretch.conj() * later, points)[:, : _LAGS + 1]

    # the power of the first samples, for every number of them
    until = np.cumsum(around**2, axis=1)
    until = np.pad(until, ((0, 0), (1, 0)))
    energies = until[:, _PITCH : _PITCH + _LAGS + 1] - until[:, : _LAGS + 1]

    unshifted = energies[:, :1]
    difference = unshifted + energies - 2 * products
    # rounding may leave less than nothing
    return np.maximum(difference, 0.0), energies


def _normalised(
    difference: Float64[np.ndarray, "rows lags"],
) -> Float64[np.ndarray, "rows lags"]:
    """Return the difference over its mean at all smaller lags; 1 at lag 0 and in silence."""
    later = difference[:, 1:]
    lags = np.arange(1, difference.shape[1])
    means = np.cumsum(later, axis=1) / lags
    heard = means > _FLOOR

    normalised = np.ones_like(difference)
    np.divide(later, means, out=normalised[:, 1:], where=heard)
    return normalised


def _best_lags(normalised: Float64[np.ndarray, "rows lags"]) -> Int64[np.ndarray, "rows"]:
    """Return the first minimum that is low enough, or else the lowest lag."""
    left = normalised[:, _SHORTEST_LAG - 1 : -2]
    inner = normalised[:, _SHORTEST_LAG:-1]
    right = normalised[:, _SHORTEST_LAG + 1 :]
    is_minimum = (inner <= left) & (inner < right)
    low = is_minimum & (inner < _UNLIKE)

    # argmax is the first one that is true

    first = low.argmax(axis=1)
    lowest = inner.argmin(axis=1)
    found = np.where(low.any(axis=1), first, lowest)
    return found + _SHORTEST_LAG


def _refined(
    curve: Float64[np.ndarray, "rows lags"], lags: Int64[np.ndarray, "rows"]
) -> tuple[Float64[np.ndarray, "rows"], Float64[np.ndarray, "rows"]]:
    """Return where the parabola through a minimum and its neighbours is lowest, and its value."""
    rows = np.arange(len(lags))
    left = curve[rows, lags - 1]
    middle = curve[rows, lags]
    right = curve[rows, lags + 1]

    bend = left - 2 * middle + right
    lean = (left - right) / 2
    is_minimum = (left >= middle) & (right >= middle) & (bend > _FLOOR)
    shift = np.zeros(len(lags))
    np.divide(lean, bend, out=shift, where=is_minimum)

    lowest = middle - lean * shift / 2
    return lags + shift, np.maximum(lowest, 0.0)


# ---------------------------------------------------------------------- spectrum


def _spectrum(frames: Float64[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows points"]:
    """Return the power in each frequency; a sine that fills the range has a sum of 1/2."""
    window = np.hanning(_SPECTRUM + 1)[:-1]
    transformed = rfft(frames * window, _POINTS)
    power = transformed.real**2 + transformed.imag**2
    return power * 2 / (_POINTS * np.sum(window**2))


def _frequencies() -> Float64[np.ndarray, "points"]:
    """Return the frequency of each point of a spectrum, in kHz."""
    return np.fft.rfftfreq(_POINTS, 1 / RATE) / 1000


def _mel_filters() -> Float64[np.ndarray, "bands points"]:
    """Return triangles between points that are even in mel, from 0 to 8 kHz.

    A frequency f in Hz is at 2595 log10(1 + f / 700) mel.
    """
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    mel = np.linspace(0, highest, BANDS + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    hertz = _frequencies() * 1000

    # each triangle begins and ends at the middles of its neighbours
    left = corners[:-2, None]
    middle = corners[1:-1, None]
    right = corners[2:, None]
    rising = (hertz - left) / (middle - left)
    falling = (right - hertz) / (right - middle)
    triangles = np.minimum(rising, falling)
    return np.maximum(triangles, 0.0)


def _shape_columns(
    spectrum: Float64[np.ndarray, "rows points"],
) -> dict[str, Float64[np.ndarray, "rows"]]:
    frequencies = _frequencies()
    # silence is taken for a faint white noise
    power = np.maximum(spectrum, _FLOOR / spectrum.shape[1])
    shares = power / power.sum(axis=1, keepdims=True)

    moments = _moments(shares, frequencies)
    cumulated = np.cumsum(shares, axis=1)
    rolloff = frequencies[np.argmax(cumulated >= 0.85, axis=1)]

    logs = np.log(power)
    flatness = np.exp(logs.mean(axis=1)) / power.mean(axis=1)
    entropy = -np.sum(shares * np.log(shares), axis=1) / np.log(shares.shape[1])

    return {
        **moments,
        "rolloff": rolloff,
        "flatness": flatness,
        "entropy": entropy,
        "flux": _flux(power),
        **_balance(power, frequencies),
    }


def _moments(
    shares: Float64[np.ndarray, "rows points"], frequencies: Float64[np.ndarray, "points"]
) -> dict[str, Float64[np.ndarray, "rows"]]:
    centroid = shares @ frequencies
    distances = frequencies - centroid[:, None]
    spread = np.sqrt(np.sum(shares * distances**2, axis=1))

    # a point of the spectrum is 31 Hz wide: nothing is narrower
    unit = np.maximum(spread, 0.01)
    skewness = np.sum(shares * distances**3, axis=1) / unit**3
    fourth = np.sum(shares * distances**4, axis=1) / unit**4
    # that of a tone is thousands of times that of a hiss
    kurtosis = np.log(fourth)
    return {"centroid": centroid, "spread": spread, "skewness": skewness, "kurtosis": kurtosis}


def _flux(power: Float64[np.ndarray, "rows points"]) -> Float64[np.ndarray, "rows"]:
    amplitudes = np.sqrt(power)
    directions = amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)
    steps = np.linalg.norm(np.diff(directions, axis=0), axis=1)
    return np.concatenate([[0.0], steps])


def _balance(
    power: Float64[np.ndarray, "rows points"], frequencies: Float64[np.ndarray, "points"]
) -> dict[str, Float64[np.ndarray, "rows"]]:
    """Return how the power is divided between low and high frequencies."""
    levels = 10 * np.log10(power)
    centred = frequencies - frequencies.mean()
    slope = levels @ centred / np.sum(centred**2)

    def points(lowest: float, highest: float) -> slice:
        return slice(*np.searchsorted(frequencies, (lowest, highest)))

    # sums for one, maxima for the other
    lower = power[:, points(0.05, 1.0)].sum(axis=1)
    upper = power[:, points(1.0, 5.0)].sum(axis=1)
    alpha = 10 * np.log10(lower / upper)

    below = levels[:, points(0.0, 2.0)].max(axis=1)
    above = levels[:, points(2.0, 5.0)].max(axis=1)
    return {"slope": slope, "alpha": alpha, "hammarberg": below - above}


# ---------------------------------------------------------------------- changes over time


def _fill_changes(values: Float32[np.ndarray, "rows dim"]) -> None:
    """Fill the columns that need the rows before and after, those of other blocks too."""
    if not len(values):
        return

    for name, delta in _DELTAS.items():
        column = values[:, _column(name)]
        values[:, _column(delta)] = _slope(column)

    semitones = values[:, _column("semitones")]
    steps = np.diff(semitones)

    # from nothing to a pitch is no rise
    voiced = values[:, _column("voiced")] > 0
    both = voiced[1:] & voiced[:-1]
    values[1:, _column("f0_change")] = np.where(both, steps, 0)


def _slope(column: Float32[np.ndarray, "rows"]) -> Float32[np.ndarray, "rows"]:
    """Return the slope of the line through a value and two on either side.

    Beyond the ends, the first and the last value go on.
    """
    padded = np.pad(column, 2, mode="edge")
    near = padded[3:-1] - padded[1:-3]
    far = padded[4:] - padded[:-4]

    # least squares: 10 is 2 (1² + 2²)
    return (near + 2 * far) / 10
