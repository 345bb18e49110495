"""The baselines of a comparison: what all of its systems must beat, and which of them do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from emotailor.comparison.plan import Plan
from emotailor.comparison.results import StoredBaseline
from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.evaluation.baselines import BLIND, BaselineResult, baselines
from emotailor.evaluation.comparison import PairedDifference, Spread
from emotailor.evaluation.custom import CustomMetric
from emotailor.evaluation.health import below_in, in_words
from emotailor.evaluation.tables import CALIBRATION, OF_LABELS, TESTED, Row
from emotailor.evaluation.thresholds import ThresholdMode


@dataclass(frozen=True)
class Floor:
    """The baselines on the tested split.

    Attributes:
        found: name -> baseline; empty where there are none.
        missing: why there are none; the empty string where there are.
    """

    found: Mapping[str, BaselineResult] = field(default_factory=dict)
    missing: str = ""

    def below(self, overall: Mapping[str, Spread]) -> str:
        """Say which baselines are better than a system, and in what; empty where none is.

        Args:
            overall: metric -> mean over the runs of the system.
        """
        own, others = self._compared(overall)
        beaten = below_in(own, others)
        return in_words(own, others, beaten)

    def is_weak(self, overall: Mapping[str, Spread]) -> bool:
        """Whether a baseline that knows nothing of the input has the higher micro-F1."""
        own, others = self._compared(overall)
        beaten = below_in(own, others)
        return any(TESTED in metrics for name, metrics in beaten.items() if name in BLIND)

    def _compared(
        self, overall: Mapping[str, Spread]
    ) -> tuple[dict[str, float | None], dict[str, Mapping[str, float | None]]]:
        own: dict[str, float | None] = {name: found.mean for name, found in overall.items()}
        others: dict[str, Mapping[str, float | None]] = {}
        for name, baseline in self.found.items():
            others[name] = baseline.metrics.overall()
        return own, others

    def rows(self, differences: Mapping[str, Mapping[str, PairedDifference]]) -> list[Row]:
        """Return the rows of the baselines in the table.

        Args:
            differences: name -> metric -> baseline minus reference.
        """
        rows = []
        for name, baseline in self.found.items():
            spreads = {}
            for metric, value in baseline.metrics.overall().items():
                if value is not None:
                    spreads[metric] = _single(value)
            if baseline.calibration is not None:
                error = baseline.calibration.expected_calibration_error
                spreads[CALIBRATION] = _single(error)

            row = Row(
                name=name,
                title=name,
                done=1,
                planned=1,
                spreads=spreads,
                differences=differences.get(name, {}),
                is_baseline=True,
                labels=_of_labels(baseline),
            )
            rows.append(row)
        return rows

    def stored(
        self, differences: Mapping[str, Mapping[str, PairedDifference]]
    ) -> dict[str, StoredBaseline]:
        """Return what the file with everything says of the baselines."""
        stored = {}
        for name, baseline in self.found.items():
            stored[name] = StoredBaseline(
                metrics=baseline.metrics,
                minus_reference=dict(differences.get(name, {})),
                strength=baseline.strength,
                calibration=baseline.calibration,
            )
        return stored


def _of_labels(baseline: BaselineResult) -> dict[str, dict[str, Spread]]:
    """Return label -> metric -> value, of the metrics that have a table of their own."""
    found: dict[str, dict[str, Spread]] = {}
    for name, label in baseline.metrics.labels.items():
        values = label.model_dump()
        found[name] = {m: _single(values[m]) for m in OF_LABELS if values[m] is not None}
    return found


def _single(value: float) -> Spread:
    return Spread(mean=value, std=None, runs=1)


def floor_of(plan: Plan, mode: ThresholdMode, metrics: Sequence[CustomMetric] = ()) -> Floor:
    """Compute the baselines of a comparison, on its tested split.

    They see every modality that its systems may see, and their fixed threshold is that of the
    reference. The regression for the checks at the end of each training is kept, too, so that the
    trainings need not fit it again.

    Args:
        plan: the comparison; its folder is there.
        mode: how thresholds are chosen.
        metrics: metrics of others.
    """
    if not plan.runs:
        return Floor()

    system = next((s for s in plan.systems if s.runs and s.row.name == plan.kind.reference), None)
    if system is None:
        system = next(s for s in plan.systems if s.runs)
    config = system.runs[0].config
    judge = partial(
        baselines,
        plan.dataset,
        mode=mode,
        modalities=modalities_of(plan),
        fixed=config.training.threshold,
        train=config.data.train_split,
        valid=config.data.valid_split,
        folder=plan.out,
    )

    try:
        judge(config.data.valid_split)
        found = judge(plan.split, metrics=metrics)
    except DataError as error:
        return Floor(missing=f"No baselines: {error.found}.")
    return Floor(found)


def modalities_of(plan: Plan) -> list[Modality]:
    """Return the modalities that the systems of a plan are given."""
    seen: set[Modality] = set()
    for run in plan.runs.values():
        seen.update(run.config.data.modalities or plan.dataset.modalities)
    return [m for m in plan.dataset.modalities if m in seen]
