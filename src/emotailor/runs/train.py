"""Planning and training of one run, or of one run per seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emotailor.config import merge, parse_overrides, read_toml
from emotailor.data.modality_names import parse_modalities
from emotailor.models.system import Preset
from emotailor.models.table import find_system, use_system
from emotailor.training.run_config import RunConfig, check_keys
from emotailor.training.stored_config import kept_start, settings_in, start_in

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class PlannedRun:
    """A run that has not started: its settings and its folder."""

    config: RunConfig
    folder: Path


def fixed_settings(
    data: Path,
    modalities: Sequence[str] | None,
    device: str | None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the settings that options give, and that win over all others.

    Args:
        data: stored data set.
        modalities: names or initials; None to leave them to other settings.
        device: device for the training; None to leave it to other settings.
        training: settings of the training; those that are None are left to other settings.

    Raises:
        ConfigError: a modality is unknown.
    """
    of_data: dict[str, Any] = {"path": str(data)}
    if modalities is not None:
        of_data["modalities"] = parse_modalities(modalities)

    options = {**(training or {}), "device": device}
    of_training = {name: value for name, value in options.items() if value is not None}
    return {"data": of_data, "training": of_training}


def plan_runs(
    *,
    data: Path,
    out: Path | None = None,
    system: str | None = None,
    preset: Preset = "tuned",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    seed: int | None = None,
    seeds: int = 1,
    device: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> list[PlannedRun]:
    """Put the settings of one run per seed together, checked, before anything heavy starts.

    Later sources win: preset, configuration file, ``settings`` (``KEY=VALUE``), the other options.

    Args:
        data: stored data set.
        out: run folder, or with several seeds the folder of their run folders; by default one
            under ``runs``.
        system: name of the system; by default what the file or ``settings`` say, or TAILOR.
        preset: source of the settings that nobody gives.
        config_file: TOML, or the ``config.json`` of another run.
        settings: ``KEY=VALUE``, the key with dots.
        modalities: names or initials; by default all that data set and system share.
        seed: seed of the first run.
        seeds: number of runs, with one seed each, counted up.
        device: device for the training.
        training: other settings of the training that options give, such as ``{"epochs": 5}``.

    Raises:
        ConfigError: unknown system or key, or a value out of range.
    """
    from_file = _from_file(config_file)
    from_settings = parse_overrides(settings)
    written = merge(from_file, from_settings)

    # code from outside is loaded where the user names it, never where a file does
    if system is not None:
        row = use_system(system)
    else:
        row = find_system(str(written.get("system", "tailor")))

    check_keys(from_file, row, str(config_file))
    check_keys(from_settings, row, "--set")
    given = merge(written, fixed_settings(data, modalities, device, training))
    given["system"] = row.name

    # the seed is known before what the runs start from is looked for
    fresh = {"training": {"start_from": None}}
    first = RunConfig.for_data(given, fresh, system=row.name, preset=preset)
    start = first.training.seed if seed is None else seed
    planned = []
    for number in range(start, start + seeds):
        own = {"training": {"seed": number}}
        folder = _run_folder(out, f"{data.resolve().name}-{row.folder}", number, seeds)
        kept = kept_start(folder, start_in(given))
        config = RunConfig.for_data(given, own, system=row.name, preset=preset, kept=kept)
        planned.append(PlannedRun(config, folder))
    return planned


def _from_file(file: Path | None) -> dict[str, Any]:
    """Return the settings of a TOML file, or of the ``config.json`` of a run."""
    if file is None:
        return {}
    return dict(settings_in(read_toml(file)))


def _run_folder(out: Path | None, name: str, seed: int, seeds: int) -> Path:
    """Return where a run goes; several runs have a folder of their own in a common one."""
    if out is None and seeds == 1:
        return Path("runs") / f"{name}-seed{seed}"

    common = Path("runs") / name if out is None else out
    if seeds == 1:
        return common
    return common / f"seed{seed}"


def train_runs(
    runs: Sequence[PlannedRun],
    console: Console,
    *,
    parts: bool = False,
    track: str | None = None,
) -> None:
    """Train planned runs one after the other, or resume those that were stopped.

    Args:
        runs: one per seed.
        console: where to show them.
        parts: show what each part of the loss adds to it.
        track: name of a tracker to tell, too.
    """
    from emotailor.training.progress import ConsoleReporter
    from emotailor.training.run import start, tracked

    for number, run in enumerate(runs, 1):
        shown = ConsoleReporter(console, parts=parts)
        trainer = start(run.config, run.folder, tracked(shown, track, run.folder, run.config))
        data = trainer.data
        modalities = ", ".join(data.dims)
        head = ""
        if len(runs) > 1:
            head = f"run {number} of {len(runs)}: "
        _say(
            console,
            f"{head}{run.config.system} on {data.dataset.card.name} "
            f"({len(data.positions)} samples; {modalities}), "
            f"seed {run.config.training.seed} -> {run.folder}",
        )

        trained = trainer.train()
        best = trained.best
        valid = best.valid
        _say(
            console,
            f"best epoch {best.epoch}: validation micro-F1 {valid['micro_f1']:.3f}, "
            f"accuracy {valid['accuracy']:.3f}; model in {run.folder / 'model'}",
        )
        for line in check_run(run):
            console.print(line, highlight=False)


def check_run(run: PlannedRun) -> list["Text"]:
    """Return a line for everything that is suspicious about a trained run on validation data."""
    from emotailor.runs.baselines import findings_lines
    from emotailor.runs.evaluate import evaluate_run

    result = evaluate_run(
        run.folder,
        data=run.config.data.path,
        split=run.config.data.valid_split,
        resamples=0,
        device=run.config.training.device,
        store=False,
    )
    return findings_lines(result.findings)


def _say(console: Console, text: str) -> None:
    """Print a line as it is, without markup, colours or line breaks."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
