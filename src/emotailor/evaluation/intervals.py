"""From resampled values to an interval and a p-value.

The plain percentile interval is too narrow where there are few videos, and lies to one side where
a metric is biased: in small samples mean average precision is too high and macro-F1 too low, and
the resamples show the same bias a second time. So here:

- The ends are percentiles farther out, as the t distribution is wider than the normal one, and as
  resampled variances are too small by (units - 1) / units (Hesterberg, The American Statistician
  2015: "expanded percentiles").
- The bias is measured: the mean of the resamples minus the value. An interval of a metric is moved
  back by it twice, for what the resamples add and for what the samples had; an interval of a
  difference of two systems once, since what the samples had mostly cancels.
- A metric of 0..1 is moved on the scale of log-odds, so that its interval stays within 0..1.

How often such intervals hold the true value was measured: see ``docs/evaluation.md``, and
``python -m benchmarks.intervals``.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

HALF_A_SAMPLE = 0.5
"""Added on both sides in log-odds, so that 0 and 1 have some too."""

ROUNDING = 1e-12
"""Differences below this are none: the sums of two systems may be rounded differently."""


@dataclass(frozen=True)
class Resampling:
    """What was drawn.

    Attributes:
        samples: number of samples, n.
        units: number of units that are drawn: samples, or groups of them.
        level: share of cases in which an interval is to hold the true value.
    """

    samples: int
    units: int
    level: float

    @property
    def tail(self) -> float:
        """The share of resamples beyond each end of an interval."""
        from scipy.special import ndtr, stdtrit

        beyond = (1 - self.level) / 2
        t = stdtrit(self.units - 1, beyond)
        narrow = np.sqrt((self.units - 1) / self.units)
        return float(ndtr(t / narrow))

    def two_sided(self, share: float) -> float:
        """Return the p-value of the smaller share of resamples on one side of no difference.

        It is the inverse of :attr:`tail`: p is 1 - level where the share is that of the tail.
        """
        from scipy.special import ndtri, stdtr

        narrow = np.sqrt((self.units - 1) / self.units)
        t = ndtri(share) * narrow
        p = 2 * stdtr(self.units - 1, t)
        return min(1.0, float(p))


def metric_ends(
    value: float, drawn: Float64[np.ndarray, "resamples"], resampling: Resampling
) -> tuple[float, float]:
    """Return the two ends of the interval of a metric; the value lies between them.

    Args:
        value: metric on the samples as they are.
        drawn: metric on the resamples.
        resampling: what was drawn.
    """
    is_share = 0 <= value <= 1 and drawn.min() >= 0 and drawn.max() <= 1
    if not is_share:
        low, high = _moved(value, drawn, resampling, times=2)
        return min(low, value), max(high, value)

    margin = HALF_A_SAMPLE / resampling.samples
    both = np.append(drawn, value)
    odds = _log_odds(both, margin)
    own = float(odds[-1])
    ends = _moved(own, odds[:-1], resampling, times=2)
    low, high = _from_log_odds(np.array(ends), margin).tolist()

    # a large bias may move the interval beyond the value that it is printed beside
    return min(low, value), max(high, value)


def difference_ends(
    value: float, drawn: Float64[np.ndarray, "resamples"], resampling: Resampling
) -> tuple[float, float]:
    """Return the two ends of the interval of a difference; arguments as of :func:`metric_ends`."""
    return _moved(value, drawn, resampling, times=1)


def difference_p_value(
    value: float, drawn: Float64[np.ndarray, "resamples"], resampling: Resampling
) -> float:
    """Return the two-sided p-value that belongs to :func:`difference_ends`.

    Each share of resamples has one added, so that no p-value is 0.
    """
    bias = drawn.mean() - value
    moved = drawn - bias
    not_above = int((moved <= ROUNDING).sum())
    not_below = int((moved >= -ROUNDING).sum())

    smaller_side = min(not_above, not_below) + 1
    share = smaller_side / (len(drawn) + 1)
    return resampling.two_sided(share)


def _moved(
    value: float, drawn: Float64[np.ndarray, "resamples"], resampling: Resampling, *, times: int
) -> tuple[float, float]:
    """Return two percentiles, moved back by the bias so many times."""
    tail = resampling.tail
    low, high = np.quantile(drawn, [tail, 1 - tail])
    bias = drawn.mean() - value
    return float(low - times * bias), float(high - times * bias)


def _log_odds(share: Float64[np.ndarray, "n"], margin: float) -> Float64[np.ndarray, "n"]:
    odds: Float64[np.ndarray, "n"] = np.log((share + margin) / (1 - share + margin))
    return odds


def _from_log_odds(odds: Float64[np.ndarray, "n"], margin: float) -> Float64[np.ndarray, "n"]:
    """Return shares; what lies in the margin beyond 0 or 1 is 0 or 1."""
    share = (1 + 2 * margin) / (1 + np.exp(-odds)) - margin
    return np.clip(share, 0, 1)
