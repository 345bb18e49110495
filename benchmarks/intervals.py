"""How often the 95 % intervals hold the true value, over simulated problems.

A problem is a way to draw samples of six labels with videos, and three models of them: a strong
one, its rival, which is exactly as good, and a weak one. The true value of a metric is that on
400,000 samples. Many small sets of samples are then drawn; each gives an interval of every metric,
of the difference between the weak and the strong model, and of the strong one and its rival, which
is truly 0. Beside ours stands the plain percentile interval of the same resamples.

Printed: the share of intervals that hold the true value, which should be 0.95, and the share of
p-values below 0.05 where there is no difference, which should be 0.05. A cell of the table is the
mean over both models, and over videos of one sample and of six; with 200 sets its noise is 0.008
(one standard deviation). Takes a quarter of an hour on one core.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import ndtr, ndtri

from benchmarks import report
from emotailor.evaluation.comparison import Resamples, resample_metrics
from emotailor.evaluation.intervals import difference_ends, difference_p_value, metric_ends
from emotailor.evaluation.thresholds import tune_threshold
from emotailor.files import write_json

LABELS = {
    "common": (0.54, 0.26, 0.21, 0.17, 0.10, 0.08),  # about those of CMU-MOSEI
    "rare": (0.40, 0.20, 0.10, 0.05, 0.03, 0.02),
}
VIDEOS = (1, 6)  # mean number of samples of a video
STRENGTH = {"strong": 0.8, "rival": 0.8, "weak": 0.35}
OF_VIDEO = 0.3  # share of every variance that the samples of a video have in common
SHARED = 0.5  # share of the models' noise that is the same in all of them
LARGE = 400_000  # samples on which a metric has its true value
METRICS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1",
    "mean_average_precision", "mean_roc_auc", "hamming_loss", "subset_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """Samples with labels, and the probabilities that each model gives them.

    Attributes:
        labels: (n, L).
        probabilities: model -> (n, L); each is right for what its model sees.
        videos: (n,), number of the video of each sample.
    """

    labels: Bool[np.ndarray, "n labels"]
    probabilities: dict[str, Float64[np.ndarray, "n labels"]]
    videos: Int64[np.ndarray, "n"]


@dataclass(frozen=True)
class Problem:
    """A way to draw samples.

    Attributes:
        labels: share of the samples that have each label.
        per_video: mean number of samples of a video.
    """

    labels: tuple[float, ...]
    per_video: int

    def draw(self, samples: int, rng: np.random.Generator) -> Drawn:
        """Draw samples: a label holds where a hidden normal variable is high enough."""
        videos = self._videos(samples, rng)
        cuts = -ndtri(np.array(self.labels))  # (L,)
        hidden = self._noise(videos, rng)

        # a model sees the hidden variable through noise, of which all have a part in common
        common = self._noise(videos, rng)
        probabilities = {}
        for name, strength in STRENGTH.items():
            own = self._noise(videos, rng)
            noise = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
            rest = np.sqrt(1 - strength**2)
            seen = strength * hidden + rest * noise
            probabilities[name] = ndtr((strength * seen - cuts) / rest)
        return Drawn(hidden > cuts, probabilities, videos)

    def _videos(self, samples: int, rng: np.random.Generator) -> Int64[np.ndarray, "n"]:
        lengths = rng.geometric(1 / self.per_video, samples)
        numbers = np.arange(samples)
        return np.repeat(numbers, lengths)[:samples]

    def _noise(
        self, videos: Int64[np.ndarray, "n"], rng: np.random.Generator
    ) -> Float64[np.ndarray, "n labels"]:
        """Return standard normal numbers, correlated within a video."""
        count = len(self.labels)
        of_videos = rng.normal(size=(videos[-1] + 1, count))
        of_samples = rng.normal(size=(len(videos), count))
        noise: Float64[np.ndarray, "n labels"]
        noise = np.sqrt(OF_VIDEO) * of_videos[videos] + np.sqrt(1 - OF_VIDEO) * of_samples
        return noise


@dataclass(frozen=True)
class Truth:
    """What is true of a problem.

    Attributes:
        thresholds: model -> its best threshold.
        metrics: model -> metric -> true value.
    """

    thresholds: dict[str, float]
    metrics: dict[str, dict[str, float]]


def truth_of(problem: Problem, seed: int, large: int) -> Truth:
    """Return the true values of a problem; a strong model and its rival have the same."""
    drawn = problem.draw(large, np.random.default_rng(seed))

    thresholds = {}
    metrics = {}
    for name in ("strong", "weak"):
        scores = drawn.probabilities[name]
        thresholds[name] = tune_threshold(drawn.labels, scores)
        values, _, _ = resample_metrics(drawn.labels, scores, thresholds[name], resamples=1)
        metrics[name] = values

    thresholds["rival"] = thresholds["strong"]
    metrics["rival"] = metrics["strong"]
    return Truth(thresholds, metrics)


class Counter:
    """Counts how often each thing was so."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self.asked: dict[str, int] = {}

    def add(self, name: str, *, holds: bool) -> None:
        """Count one case."""
        self.found[name] = self.found.get(name, 0) + int(holds)
        self.asked[name] = self.asked.get(name, 0) + 1

    def shares(self) -> dict[str, float]:
        """Return how often each was so."""
        return {name: self.found[name] / self.asked[name] for name in self.asked}


def measure(
    problem: Problem, *, samples: int, sets: int, resamples: int, seed: int, large: int = LARGE
) -> dict[str, float]:
    """Draw many sets of samples and return the shares of intervals that hold the true value.

    Args:
        problem: how samples are drawn.
        samples: number of samples of a set.
        sets: number of sets.
        resamples: resamples of each set.
        seed: decides everything.
        large: number of samples on which a metric has its true value.

    Returns:
        Shares by name: ``METRIC/strong``, ``METRIC/weak``, ``METRIC/difference``, ``METRIC/null``
        of our intervals, ``plain/...`` of percentile intervals, and ``size/METRIC``: the share of
        p-values below 0.05 of the strong model and its rival.
    """
    truth = truth_of(problem, seed, large)
    rng = np.random.default_rng(seed + 1)
    counter = Counter()

    for number in range(sets):
        drawn = problem.draw(samples, rng)
        found = {}
        for name, scores in drawn.probabilities.items():
            # the same seed: all models are judged on the same resamples
            found[name] = resample_metrics(
                drawn.labels,
                scores,
                truth.thresholds[name],
                groups=drawn.videos,
                resamples=resamples,
                seed=number,
            )
        _count_metrics(counter, found, truth)
        _count_differences(counter, found, truth)
    return counter.shares()


def _count_metrics(counter: Counter, found: Mapping[str, Resamples], truth: Truth) -> None:
    for model in ("strong", "weak"):
        values, drawn, resampling = found[model]
        for metric, of_resamples in drawn.items():
            true = truth.metrics[model][metric]
            ends = metric_ends(values[metric], of_resamples, resampling)
            plain = np.quantile(of_resamples, [0.025, 0.975])
            counter.add(f"{metric}/{model}", holds=ends[0] <= true <= ends[1])
            counter.add(f"plain/{metric}/{model}", holds=plain[0] <= true <= plain[1])


def _count_differences(counter: Counter, found: Mapping[str, Resamples], truth: Truth) -> None:
    values, drawn, resampling = found["strong"]
    for kind, other in (("null", "rival"), ("difference", "weak")):
        other_values, other_drawn, _ = found[other]

        # what is undefined in a resample for one of them has no interval
        for metric in drawn.keys() & other_drawn.keys():
            true = truth.metrics["strong"][metric] - truth.metrics[other][metric]
            value = values[metric] - other_values[metric]
            of_resamples = drawn[metric] - other_drawn[metric]

            ends = difference_ends(value, of_resamples, resampling)
            plain = np.quantile(of_resamples, [0.025, 0.975])
            counter.add(f"{metric}/{kind}", holds=ends[0] <= true <= ends[1])
            counter.add(f"plain/{metric}/{kind}", holds=plain[0] <= true <= plain[1])
            if kind == "null":
                p = difference_p_value(value, of_resamples, resampling)
                counter.add(f"size/{metric}", holds=p < 0.05)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure the coverage and print it."""
    parser = report.parser(__doc__)
    parser.add_argument("--samples", nargs="+", type=report.positive, default=[60, 180, 800])
    parser.add_argument("--sets", type=report.positive, default=200, help="for each problem")
    parser.add_argument("--resamples", type=report.positive, default=500)
    args = parser.parse_args(arguments)
    report.check_json(args.json)

    measured = []
    for samples in args.samples:
        for kind, labels in LABELS.items():
            for per_video in VIDEOS:
                shares = measure(
                    Problem(labels, per_video),
                    samples=samples,
                    sets=args.sets,
                    resamples=args.resamples,
                    seed=10 * samples + per_video,
                )
                case = {"samples": samples, "labels": kind, "per_video": per_video}
                measured.append({**case, "shares": shares})
                print(f"{samples} samples, {kind} labels, {per_video} a video: done", flush=True)

    for line in _tables(measured):
        print(line)
    values = {"sets": args.sets, "resamples": args.resamples, "measured": measured}
    if args.json is not None:
        write_json(args.json, values)
    return values


def _tables(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield Markdown tables: a row per metric, a column per number of samples and kind of label."""
    columns: dict[tuple[str, int], list[Mapping[str, float]]] = {}
    for case in measured:
        column = (case["labels"], case["samples"])
        columns.setdefault(column, []).append(case["shares"])

    quantities = {
        "Intervals of a metric": ["{}/strong", "{}/weak"],
        "The same, plain percentiles": ["plain/{}/strong", "plain/{}/weak"],
        "Intervals of a difference": ["{}/difference", "{}/null"],
        "The same, plain percentiles of differences": ["plain/{}/difference", "plain/{}/null"],
        "p < 0.05 without a difference": ["size/{}"],
    }
    for title, names in quantities.items():
        titles = [f"{kind}, {samples}" for kind, samples in columns]
        yield ""
        yield f"{title}:"
        yield ""
        yield f"| metric | {' | '.join(titles)} |"
        yield "|---|" + "---|" * len(titles)
        for metric in METRICS:
            cells = [_cell(shares, names, metric) for shares in columns.values()]
            yield f"| {metric} | {' | '.join(cells)} |"


def _cell(cases: Sequence[Mapping[str, float]], names: Sequence[str], metric: str) -> str:
    """Return the mean over what is defined."""
    keys = [name.format(metric) for name in names]
    found = [shares[key] for shares in cases for key in keys if key in shares]
    return f"{np.mean(found):.3f}" if found else ""


if __name__ == "__main__":
    report.run(main)
