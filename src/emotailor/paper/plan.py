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
    State,
    complete_plan,
)
from emotailor.comparison.published import TABLE_2, why_not_published
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
    below=("figures",),
)
SYSTEMS = (*TABLE_2["aligned"], "carat", "lddu")
"""The systems of Table 2, and two that are newer than it."""

WITHOUT_TERMS = "without_terms"
"""Name of the run of Figure 6 without the adversarial and the orthogonality terms."""


@dataclass(frozen=True)
class Stage:
    """One comparison of runs.

    Attributes:
        name: name of its folder.
        title: what it is of the paper.
        plan: plan of its runs.
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

    @property
    def left(self) -> dict[RunKey, PlannedRun]:
        """The stage's own runs that are not done."""
        return {key: run for key, run in self.plan.left.items() if key in self.own}

    def count(self, state: State) -> int:
        """Return how many of the stage's own runs are in a state."""
        return sum(self.plan.states[key] == state for key in self.own)


@dataclass(frozen=True)
class Reproduction:
    """What is to be done.

    Attributes:
        out: folder of everything.
        stages: stages in the order in which they are done.
        left_out: what of the paper cannot be done, and why.
        options: options of :func:`plan_paper`, to plan again.
    """

    out: Path
    stages: tuple[Stage, ...]
    left_out: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def left(self) -> list[PlannedRun]:
        """The runs that are not done."""
        found: list[PlannedRun] = []
        for stage in self.stages:
            found += stage.plan.left.values()
        return found

    def count(self, state: State) -> int:
        """Return how many runs of all stages are in a state; a shared run counts once."""
        return sum(stage.count(state) for stage in self.stages)

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
        data: stored data set; where it is unaligned, there is no other.
        out: folder of everything.
        unaligned: the same samples unaligned, for the second half of Table 2.
        seeds: number of runs of each system and variant.
        seed: seed of the first run; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML as for ``emotailor benchmark``; TAILOR's are those of its variants, too.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        device: to train and test on.
        jobs: runs at a time; by default one per GPU, or else one per core.

    Raises:
        ConfigError: a wrong setting or data set, or ``out`` holds something else.
        DataError: no such data set, or a split is missing.
    """
    options = dict(locals())
    sets = _data_sets(data, unaligned)
    FOLDER.check(out)
    _check_stages(out, sets)

    stages: list[Stage] = []
    full: dict[str, tuple[PlannedRun, ...]] = {}  # setting -> runs of the full TAILOR
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
        full[setting] = _runs_of(plan, REFERENCE)

    if full.get("aligned"):
        path, dataset = sets["aligned"]
        plan = _plan_table3(path, dataset, out / "table3", full["aligned"], jobs)
        stages.append(_stage("table3", "Table 3", plan, stages))

    # Figure 6 is drawn once, of aligned data where there are some
    trained = [setting for setting, runs in full.items() if runs]
    if trained:
        first = trained[0]
        path, dataset = sets[first]
        plan = _plan_figure6(path, dataset, out / "figure6", full[first][0], jobs)
        stages.append(_stage("figure6", "Figure 6", plan, stages))

    left_out = _left_out(sets, full)
    return Reproduction(out, tuple(stages), tuple(left_out), options)


def _runs_of(plan: Plan, name: str) -> tuple[PlannedRun, ...]:
    """Return the runs of one row; none where it is skipped."""
    by_name = {system.row.name: system for system in plan.systems}
    return by_name[name].runs


def _data_sets(data: Path, unaligned: Path | None) -> dict[str, tuple[Path, EmotionDataset]]:
    """Return setting -> data set, as the paper has them.

    Raises:
        ConfigError: one of the two data sets is not what its option says.
        DataError: their labels differ.
    """
    first = open_dataset(data)
    if unaligned is None:
        setting = "aligned" if first.aligned else "unaligned"
        return {setting: (data, first)}

    second = open_dataset(unaligned)
    if not first.aligned:
        raise _swapped(data, "unaligned")
    if second.aligned:
        raise _swapped(unaligned, "aligned")

    # the order of the labels may differ
    if set(first.label_names) != set(second.label_names):
        raise DataError(
            f"{unaligned} has the labels {', '.join(second.label_names)}",
            expected=f"those of {data}: {', '.join(first.label_names)}",
        )
    return {"aligned": (data, first), "unaligned": (unaligned, second)}


def _swapped(wrong: Path, kind: str) -> ConfigError:
    return ConfigError(
        f"{wrong} is {kind}",
        expected="word-aligned data as --data, the same unaligned as --unaligned",
    )


def _check_stages(out: Path, sets: Mapping[str, tuple[Path, EmotionDataset]]) -> None:
    """Refuse to replace a page by a part of it."""
    options = {"aligned": "--data", "unaligned": "--unaligned"}
    for setting, option in options.items():
        if setting in sets:
            continue

        earlier = find_benchmark(out / f"table2-{setting}")
        if earlier is not None:
            raise ConfigError(
                f"{out} has Table 2, {setting}, too, and its page would lose it",
                expected="all data sets of the earlier call; what is trained is not trained again",
                fix=f"give the {setting} data with {option}, or choose another --out",
            )


def _stage(name: str, title: str, plan: Plan, before: Sequence[Stage]) -> Stage:
    """Return a stage; its own runs are those whose folder no earlier stage has."""
    trained_before: set[Path] = set()
    for stage in before:
        for run in stage.plan.runs.values():
            trained_before.add(run.folder)

    own = set()
    for key, run in plan.runs.items():
        if run.folder not in trained_before:
            own.add(key)
    return Stage(name, title, plan, frozenset(own))


def _plan_table3(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    full: Sequence[PlannedRun],
    jobs: int | None,
) -> Plan:
    """Plan the variants of TAILOR; the full models are there already."""
    variants = list(ABLATIONS.values())
    return plan_variants(data, dataset, out, full, variants, jobs=jobs)


def _plan_figure6(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    full: PlannedRun,
    jobs: int | None,
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
    sets: Mapping[str, tuple[Path, EmotionDataset]],
    full: Mapping[str, Sequence[PlannedRun]],
) -> list[str]:
    """Return what of the paper cannot be done with these data, and why."""
    lines = []
    if "unaligned" not in sets:
        lines.append("Table 2, unaligned: no unaligned data set was given (--unaligned).")

    if "aligned" not in sets:
        lines.append("Table 2, aligned: the data are unaligned.")
        lines.append("Table 3: it is of aligned data.")
    elif not full["aligned"]:
        lines.append("Table 3: TAILOR is skipped.")

    if not any(full.values()):
        lines.append("Figures: TAILOR is skipped.")

    for setting, (path, dataset) in sets.items():
        why = why_not_published(dataset, "test")
        if why:
            lines.append(
                f"The published numbers beside ours ({setting}): {path} is not CMU-MOSEI in the "
                f"paper's split: {why}."
            )
    return lines
