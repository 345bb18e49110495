"""Planning and training of one run, or of one run per seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.config import merge, parse_overrides, read_toml
from emotailor.data.sample import MODALITIES, Modality
from emotailor.data.store import read_card
from emotailor.errors import ConfigError, DataError
from emotailor.models.system import Preset
from emotailor.models.table import find_system, use_system
from emotailor.training.run_config import RunConfig


@dataclass(frozen=True)
class PlannedRun:
    """A run that has not started: its settings and its folder."""

    config: RunConfig
    folder: Path


def parse_modalities(names: Sequence[str]) -> list[Modality]:
    """Read names or initials of modalities.

    Raises:
        ConfigError: a name is unknown.
    """
    known: dict[str, Modality] = {m: m for m in MODALITIES} | {m[0]: m for m in MODALITIES}
    unknown = [name for name in names if name.strip().lower() not in known]
    if unknown:
        raise ConfigError(
            f"unknown modality {', '.join(map(repr, unknown))}",
            expected=f"some of {', '.join(MODALITIES)}, separated by commas",
        )
    return [known[name.strip().lower()] for name in names]


def fixed_settings(
    data: Path, modalities: Sequence[str] | None, device: str | None
) -> dict[str, Any]:
    """Return the settings that options give, and that win over all others.

    Args:
        data: stored data set.
        modalities: names or initials; None to leave them to other settings.
        device: to train on; None likewise.

    Raises:
        ConfigError: a modality is unknown.
    """
    fixed: dict[str, Any] = {"data": {"path": str(data)}}
    if modalities is not None:
        fixed["data"]["modalities"] = parse_modalities(modalities)
    if device is not None:
        fixed["training"] = {"device": device}
    return fixed


def is_aligned(data: Path) -> bool:
    """Whether a stored data set is word-aligned, which decides between recipes.

    One that cannot be read counts as aligned: training reports it.
    """
    try:
        return read_card(data).aligned
    except DataError:
        return True


def plan_runs(
    *,
    data: Path,
    out: Path | None = None,
    system: str | None = None,
    preset: Preset = "paper",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    seed: int | None = None,
    seeds: int = 1,
    device: str | None = None,
) -> list[PlannedRun]:
    """Put the settings of one run per seed together, checked, before anything heavy starts.

    Later sources win: preset, configuration file, ``settings`` (``KEY=VALUE``), the other options.

    Args:
        data: stored data set.
        out: run folder, or with several seeds the folder of their run folders; by default one
            under ``runs``.
        system: name of the system; by default what the file or ``settings`` say, or TAILOR.
        preset: where settings that nobody gives come from.
        config_file: TOML, or the ``config.json`` of another run.
        settings: ``KEY=VALUE``, the key with dots.
        modalities: names or initials; by default all that data set and system share.
        seed: of the first run.
        seeds: number of runs, with one seed each, counted up.
        device: to train on.

    Raises:
        ConfigError: unknown system or key, or a value out of range.
    """
    chosen = fixed_settings(data, modalities, device)
    from_file = read_toml(config_file) if config_file else {}
    if "fingerprint" in from_file and isinstance(from_file.get("config"), dict):
        # the config.json of a run
        from_file = from_file["config"]
    written = merge(from_file, parse_overrides(settings))
    for room in ("data", "model", "training", "alignment"):
        if not isinstance(written.get(room, {}), Mapping):
            raise ConfigError(f"{room} = {written[room]!r}", expected="a table of settings")
    given = merge(written, chosen)
    # code from outside is loaded where the user names it, never where a file does
    row = (
        use_system(system)
        if system is not None
        else find_system(str(given.get("system", "tailor")))
    )
    given["system"] = system = row.name
    aligned = is_aligned(data)
    first = RunConfig.build(given, system=system, preset=preset, aligned=aligned)
    start = first.training.seed if seed is None else seed
    planned = []
    for number in range(start, start + seeds):
        config = RunConfig.build(
            given,
            {"training": {"seed": number}},
            system=system,
            preset=preset,
            aligned=aligned,
        )
        if out is None:
            folder = Path("runs") / f"{data.resolve().name}-{row.folder}-seed{number}"
            if seeds > 1:
                folder = Path("runs") / f"{data.resolve().name}-{row.folder}" / f"seed{number}"
        else:
            folder = out if seeds == 1 else out / f"seed{number}"
        planned.append(PlannedRun(config, folder))
    return planned


def train_runs(runs: Sequence[PlannedRun], console: Console) -> None:
    """Train planned runs one after the other, or go on where they stopped."""
    from emotailor.training.progress import ConsoleReporter
    from emotailor.training.run import start

    for number, run in enumerate(runs, 1):
        trainer = start(run.config, run.folder, ConsoleReporter(console))
        head = f"run {number} of {len(runs)}: " if len(runs) > 1 else ""
        console.print(
            f"{head}{run.config.system} on {trainer.data.dataset.card.name} "
            f"({len(trainer.data.positions)} samples; {', '.join(trainer.data.dims)}), "
            f"seed {run.config.training.seed} -> {run.folder}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        best = trainer.train().best
        valid = best["valid"]
        console.print(
            f"best epoch {best['epoch']}: validation micro-F1 {valid['micro_f1']:.3f}, "
            f"accuracy {valid['accuracy']:.3f}; model in {run.folder / 'model'}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
