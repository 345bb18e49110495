"""Metrics of others: functions that are judged, shown and stored like ours.

A metric is a function ``(labels, probabilities, decisions) -> float`` of three arrays (n, L): 0/1
labels, probabilities from 0 to 1, and 0/1 decisions. It is named

- by a reference, ``my_module:my_metric`` or ``path/to/file.py:my_metric``;
- by its name in the group ``emotailor.metrics`` of entry points of an installed package;
- or, from Python, by the function itself.

On a whole split it must return a finite number. On a resample of a bootstrap it may return NaN
where it is undefined: then it has no interval.
"""

import difflib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from emotailor.errors import ConfigError
from emotailor.loading import REFERENCE, installed, is_reference, load_object

ENTRY_POINTS = "emotailor.metrics"
"""The group in which an installed package offers its metrics."""

MetricFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class CustomMetric:
    """A metric of others under a name.

    Attributes:
        name: name in tables and files.
        function: the metric.
        source: where it comes from, for messages.
    """

    name: str
    function: MetricFunction
    source: str = ""

    def __call__(
        self,
        labels: Shaped[np.ndarray, "n labels"],
        probabilities: Shaped[np.ndarray, "n labels"],
        decisions: Shaped[np.ndarray, "n labels"],
    ) -> float:
        """Return the metric of some samples; NaN where it is undefined.

        Raises:
            ConfigError: the function fails, or returns something else than a number.
        """
        truth = labels.astype(np.int64)
        decided = decisions.astype(np.int64)
        try:
            value = self.function(truth, probabilities.copy(), decided)
        except Exception as error:  # whatever the code of others raises
            raise ConfigError(
                f"the metric {self._full_name} failed: {type(error).__name__}: {error}",
                expected="a function of labels, probabilities and decisions, each (n, L)",
                fix="mend the function; where it is undefined, it may return NaN",
            ) from error

        # numpy and torch scalars are numbers too; texts and truth values are not
        if isinstance(value, str | bytes | bool | np.bool_) or np.ndim(value) != 0:
            raise self._no_number(value)

        try:
            found = float(value)
        except (TypeError, ValueError) as error:
            raise self._no_number(value) from error
        if math.isinf(found):
            raise self._no_number(value)
        return found

    def of_split(
        self,
        labels: Shaped[np.ndarray, "n labels"],
        probabilities: Shaped[np.ndarray, "n labels"],
        decisions: Shaped[np.ndarray, "n labels"],
    ) -> float:
        """Return the metric of a whole split, where it must be defined.

        Raises:
            ConfigError: the function fails, or returns NaN or no number.
        """
        found = self(labels, probabilities, decisions)
        if math.isnan(found):
            raise self._no_number(found)
        return found

    @property
    def _full_name(self) -> str:
        return f"{self.name!r} ({self.source})" if self.source else repr(self.name)

    def _no_number(self, value: object) -> ConfigError:
        return ConfigError(
            f"the metric {self._full_name} returned {value!r:.80}",
            expected="one finite number",
            fix="mend the function",
        )


MetricLike = str | MetricFunction | CustomMetric
"""A metric as users give it."""


def resolve_metrics(
    wanted: Sequence[MetricLike], *, taken: Collection[str] = ()
) -> list[CustomMetric]:
    """Return metrics of others, found and named.

    Args:
        wanted: references, names of entry points, functions, or metrics with a name.
        taken: names that a metric may not have.

    Raises:
        ConfigError: one cannot be found, is not callable, has no name, or two have the same name.
    """
    found: dict[str, CustomMetric] = {}
    for one in wanted:
        metric = _resolve(one)
        if metric.name in taken or metric.name in found:
            raise ConfigError(
                f"there are two metrics called {metric.name!r}",
                expected="every name once, and none of ours",
                fix="rename the function, or in Python give CustomMetric(name, function)",
            )
        found[metric.name] = metric
    return list(found.values())


def _resolve(wanted: MetricLike) -> CustomMetric:
    if isinstance(wanted, CustomMetric):
        return wanted
    if not isinstance(wanted, str):
        return _named(wanted)

    if is_reference(wanted):
        # the name is the last part: my_metric of my_module:tools.my_metric
        _, _, attribute = wanted.rpartition(":")
        _, _, name = attribute.rpartition(".")
        function = load_object(wanted, "metric")
        return _checked(name, function, wanted)

    offered = installed(ENTRY_POINTS)
    if wanted not in offered:
        raise _unknown(wanted, offered)
    reference = offered[wanted]
    function = load_object(reference, "metric")
    return _checked(wanted, function, reference)


def _unknown(wanted: str, offered: Collection[str]) -> ConfigError:
    """Return the error of a name that no installed package offers."""
    known = ", ".join(offered) or "none"
    fix = "check the spelling"
    close = difflib.get_close_matches(wanted, offered, n=1)
    if close:
        fix = f"did you mean {close[0]!r}?"

    return ConfigError(
        f"no metric {wanted!r}",
        expected=f"{REFERENCE}, or the name of an installed metric ({known})",
        fix=fix,
    )


def _named(function: object) -> CustomMetric:
    """Return a function under its own name."""
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", "")

    # a lambda has no name to show, and neither has an object that is callable
    if callable(function) and not name.isidentifier():
        raise ConfigError(
            f"the metric {function!r} has no name",
            expected="a function with a name",
            fix="give CustomMetric(name, function)",
        )
    return _checked(name or repr(function), function, module or "")


def _checked(name: str, function: Any, source: str) -> CustomMetric:
    if not callable(function):
        raise ConfigError(
            f"the metric {name!r} ({source}) is {type(function).__name__}",
            expected="a function of labels, probabilities and decisions, each (n, L)",
        )
    return CustomMetric(name, function, source)
