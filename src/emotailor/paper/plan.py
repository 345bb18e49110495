"""What the job of a paper's results is to do: stages and their runs. Nothing is written here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emotailor.comparison.ablate import plan_variants
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.plan import (
    FIRST_SEED,
    REFERENCE,
    Kind,
    Plan,
    RunKey,
    complete_plan,
)
from emotailor.comparison.published import TABLE_2, published_setting
from emotailor.comparison.results import find_benchmark
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.folders import FolderKind, has_format
from emotailor.models.system import FULL, Preset
from emotailor.models.table import find_system
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.models.tailor.config import TailorConfig
from emotailor.paper.results import FILE, FORMAT
from emotailor.runs.train import PlannedRun

FOLDER = FolderKind(
    name="reproduction",
    marker=FILE,
    recognises=has_format(FORMAT),
    writes=(FILE, "report.html", "speed.json", "figures", "table2-*", "table3", "figure6"),
    signs=(FILE,),
)
SYSTEMS = (*TABLE_2["aligned"], "carat")
"""The systems of Table 2, and one that is newer than it."""

WITHOUT_TERMS = "without_terms"


@dataclass(frozen=True)
class Stage:
    """One comparison of runs.

    Attributes:
        name: of its folder.
        title: what it is of the paper.
        plan: of its runs.
        own: runs that no earlier stage has.
    """

    name: str
    title: str
    plan: Plan
    own: frozenset[RunKey]

    @property
    def complete(self) -> bool:
        """Whether all runs are done."""
        return all(state == "done" for state in self.plan.states.values())

    def count(self, state: str) -> int:
        """How many of its own runs are in a state."""
        return sum(self.plan.states[key] == state for key in self.own)


@dataclass(frozen=True)
class Reproduction:
    """What is to be done.

    Attributes:
        out: folder of everything.
        stages: in order.
        left_out: what of the paper cannot be done, and why.
        options: of :func:`plan_paper`, to plan again.
    """

    out: Path
    stages: tuple[Stage, ...]
    left_out: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def left(self) -> list[PlannedRun]:
        """The runs that are not done."""
        return [
            run
            for stage in self.stages
            for key, run in stage.plan.runs.items()
            if stage.plan.states[key] != "done"
        ]

    def again(self) -> "Reproduction":
        """Plan anew, with what has been done by now."""
        return plan_paper(**self.options)


def plan_paper(
    data: Path,
    out: Path,
    *,
    unaligned: Path | None = None,
    seeds: int = 5,
    seed: int = FIRST_SEED,
    preset: Preset = "paper",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    jobs: int | None = None,
) -> Reproduction:
    """Put all runs together, checked, before anything heavy starts.

    Args:
        data: stored data set; unaligned, it is all there is.
        out: folder of everything.
        unaligned: the same samples unaligned, for the second half of Table 2.
        seeds: runs of each system and variant.
        seed: of the first; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML as for ``emotailor benchmark``; TAILOR's are those of its variants, too.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        device: to train and test on.
        jobs: runs at a time; by default one per core, and one on a GPU.

    Raises:
        ConfigError: a wrong setting or data set, or ``out`` holds something else.
        DataError: no such data set, or a split is missing.
    """
    options = dict(locals())
    sets = _data_sets(data, unaligned)
    FOLDER.check(out)
    _check_stages(out, sets)
    stages: list[Stage] = []
    full: dict[str, tuple[PlannedRun, ...]] = {}
    for setting, (path, _) in sets.items():
        plan = plan_benchmark(
            path,
            out / f"table2-{setting}",
            models=SYSTEMS,
            seeds=seeds,
            seed=seed,
            preset=preset,
            config_file=config_file,
            settings=settings,
            device=device,
            jobs=jobs,
        )
        stages.append(_stage(f"table2-{setting}", f"Table 2, {setting}", plan, stages))
        full[setting] = next(s.runs for s in plan.systems if s.row.name == REFERENCE)
    if full.get("aligned"):
        path, dataset = sets["aligned"]
        plan = plan_variants(
            path, dataset, out / "table3", full["aligned"], list(ABLATIONS.values()), jobs=jobs
        )
        if published_setting(dataset.card) != "aligned":
            kind = replace(plan.kind, paper=None, published={}, notes=())
            plan = replace(plan, kind=kind)
        stages.append(_stage("table3", "Table 3", plan, stages))
    for setting in [name for name, runs in full.items() if runs][:1]:
        path, dataset = sets[setting]
        plan = _plan_figure6(path, dataset, out / "figure6", full[setting][0], jobs)
        stages.append(_stage("figure6", "Figure 6", plan, stages))
    return Reproduction(out, tuple(stages), tuple(_left_out(sets, full)), options)


def _data_sets(data: Path, unaligned: Path | None) -> dict[str, tuple[Path, EmotionDataset]]:
    """Setting -> data set, as the paper has them."""
    first = open_dataset(data)
    found = {"aligned" if first.aligned else "unaligned": (data, first)}
    if unaligned is None:
        return found
    second = open_dataset(unaligned)
    if not first.aligned or second.aligned:
        wrong, kind = (unaligned, "aligned") if first.aligned else (data, "unaligned")
        raise ConfigError(
            f"{wrong} is {kind}",
            expected="word-aligned data as --data, the same unaligned as --unaligned",
        )
    if set(first.label_names) != set(second.label_names):
        raise DataError(
            f"{unaligned} has the labels {', '.join(second.label_names)}",
            expected=f"those of {data}: {', '.join(first.label_names)}",
        )
    return {**found, "unaligned": (unaligned, second)}


def _check_stages(out: Path, sets: Mapping[str, tuple[Path, EmotionDataset]]) -> None:
    """Refuse to replace a page by a part of it."""
    for setting, option in (("aligned", "--data"), ("unaligned", "--unaligned")):
        if setting not in sets and find_benchmark(out / f"table2-{setting}") is not None:
            raise ConfigError(
                f"{out} has Table 2, {setting}, too, and its page would lose it",
                expected="all data sets of the earlier call; what is trained is not trained again",
                fix=f"give the {setting} data with {option}, or choose another --out",
            )


def _stage(name: str, title: str, plan: Plan, before: Sequence[Stage]) -> Stage:
    known = {run.folder for stage in before for run in stage.plan.runs.values()}
    own = frozenset(key for key, run in plan.runs.items() if run.folder not in known)
    return Stage(name, title, plan, own)


def _plan_figure6(
    data: Path, dataset: EmotionDataset, out: Path, full: PlannedRun, jobs: int | None
) -> Plan:
    """Plan the two runs that Figure 6 lays side by side; the full one is there already."""
    model = full.config.model
    assert isinstance(model, TailorConfig)

    # without the adversarial and the orthogonality terms
    kept = tuple(loss for loss in model.refinement_losses if loss == "common_semantics")
    without = model.replace(refinement_losses=kept)
    config = full.config.replace(model=without.to_json())
    run = PlannedRun(config, out / WITHOUT_TERMS / full.folder.name)

    row = find_system(REFERENCE)
    without_row = replace(row, name=WITHOUT_TERMS, title="w/o L_adv, L_diff")
    full_row = replace(row, name=FULL)
    built = [(without_row, [run]), (full_row, [full])]
    kind = Kind(name="ablation", reference=FULL)
    return complete_plan(data, dataset, out, built, kind, split="test", jobs=jobs)


def _left_out(
    sets: Mapping[str, tuple[Path, EmotionDataset]], full: Mapping[str, Sequence[PlannedRun]]
) -> list[str]:
    lines = []
    if "unaligned" not in sets:
        lines.append("Table 2, unaligned: no unaligned data set was given (--unaligned).")
    if "aligned" not in sets:
        lines.append("Table 2, aligned: the data are unaligned.")
    if not full.get("aligned"):
        why = "TAILOR is skipped" if "aligned" in sets else "it is of aligned data"
        lines.append(f"Table 3: {why}.")
    if not any(full.values()):
        lines.append("Figures: TAILOR is skipped.")
    for setting, (path, dataset) in sets.items():
        if published_setting(dataset.card) is None:
            lines.append(
                f"The published numbers beside ours ({setting}): {path} is not CMU-MOSEI in the "
                "paper's split (its six labels; 16,326, 1,871 and 4,659 segments)."
            )
    return lines
