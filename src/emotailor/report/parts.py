"""Parts of a report that runs and benchmarks share: data, settings, commands, versions."""

import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from emotailor import __version__
from emotailor.config import shown
from emotailor.data.dataset import EmotionDataset
from emotailor.data.inspect import DatasetReport, inspect_dataset
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.display import number
from emotailor.models.system import Preset
from emotailor.models.table import find_system
from emotailor.report.page import Block, Code, Facts, Folded, Items, Section, Table, Text
from emotailor.training.run_config import RunConfig

SHOWN_PAIRS = 8  # labels up to which their co-occurrence is a matrix on a page
LINE = 88  # characters of a command on one line
OPTIONS = ("data.path", "training.seed")  # settings that have options of their own
PRESETS: tuple[Preset, ...] = ("paper", "authors")
_TOML_WORDS = ("true", "false", "inf", "nan")  # not strings in TOML
_WORD = re.compile(r"[A-Za-z_][A-Za-z_-]*")


def plain_mode(mode: str) -> str:
    """Return a kind of threshold as one says it: ``per label``."""
    return mode.replace("_", " ")


def interval(found: Interval | None) -> str:
    """Return the two ends of an interval."""
    return "" if found is None else f"{number(found.low)} to {number(found.high)}"


# ---------------------------------------------------------------------- settings


@dataclass(frozen=True)
class Departures:
    """Where a configuration departs from the preset that is nearest to it.

    Attributes:
        preset: ``paper`` or ``authors``.
        values: setting -> its value and that of the preset, without data and seed.
    """

    preset: Preset
    values: Mapping[str, tuple[Any, Any]]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their names with dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def departures_from(config: RunConfig, preset: Preset, *, aligned: bool) -> Departures:
    """Compare a configuration with a preset of its system."""
    same_data = {"data": {"path": config.data.path}}
    base = RunConfig.build(same_data, system=config.system, preset=preset, aligned=aligned)
    given = flatten(config.to_json())
    usual = flatten(base.to_json())

    different = {}
    for key in {**given, **usual}:  # in order, for a page that is the same every time
        value = given.get(key)
        if key not in OPTIONS and value != usual.get(key):
            different[key] = (value, usual.get(key))
    return Departures(preset, different)


def departures(config: RunConfig, *, aligned: bool) -> Departures:
    """Compare a configuration with both presets of its system; the nearer one counts."""
    each = [departures_from(config, preset, aligned=aligned) for preset in PRESETS]
    return min(each, key=lambda one: len(one.values))


def settings_blocks(config: RunConfig, *, aligned: bool) -> list[Block]:
    """Return what departs from the preset, then everything, folded."""
    every = flatten(config.to_json())
    rows = [(key, shown(value)) for key, value in every.items()]
    table = Table(("setting", "value"), rows)
    from_preset = departures(config, aligned=aligned)
    return [_departures_block(from_preset), Folded(f"All {len(every)} settings", [table])]


def _departures_block(found: Departures) -> Block:
    if not found.values:
        return Text(f"Everything is as in the preset “{found.preset}”.")
    rows = []
    for key, (value, usual) in found.values.items():
        rows.append((key, shown(value), shown(usual)))
    title = f"Where it departs from the preset “{found.preset}”"
    return Table(("setting", "value", "preset"), rows, title)


def toml_value(value: Any) -> str | None:
    """Return a value as ``--set`` takes it; None where it cannot."""
    if value is None or isinstance(value, Mapping):
        return None
    if isinstance(value, list) and None in value:
        return None
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in _TOML_WORDS:
        return value  # what is not TOML is a string
    return json.dumps(value, ensure_ascii=False)


def settings_options(values: Mapping[str, Any], prefix: str = "") -> list[str] | None:
    """Return ``--set`` options; None where a value cannot be given so."""
    options = []
    for key, value in values.items():
        text = toml_value(value)
        if text is None:
            return None
        options += ["--set", f"{prefix}{key}={text}"]
    return options


def training_command(config: RunConfig, run: str, *, aligned: bool) -> str:
    """Return the command that trains the same again."""
    command = ["emotailor", "train", "--data", config.data.path]
    from_preset = departures(config, aligned=aligned)
    changes = {key: value for key, (value, _) in from_preset.values.items()}
    options = settings_options(changes)
    if options is None:
        command += ["--config", f"{run}/config.json"]
    else:
        system = find_system(config.system)
        command += ["--model", system.code or system.name]
        command += ["--preset", from_preset.preset, *options]
    command += ["--seed", str(config.training.seed)]
    command += ["--out", f"{run}-again"]
    return shell(command)


def shell(command: Sequence[str]) -> str:
    """Return a command for a shell, on several lines where it is long."""
    pieces: list[str] = []
    for word in command:
        quoted = shlex.quote(word)
        is_value = bool(pieces) and pieces[-1].startswith("--") and not word.startswith("--")
        if is_value:
            pieces[-1] += f" {quoted}"  # an option and its value stay together
        else:
            pieces.append(quoted)

    first, *others = pieces
    lines = [first]
    for piece in others:
        if len(lines[-1]) + len(piece) < LINE:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}")
    return " \\\n".join(lines)


# ---------------------------------------------------------------------- data


def data_section(dataset: EmotionDataset, path: str) -> Section:
    """Return the card of a data set: counts, labels, lengths, where it comes from."""
    report = inspect_dataset(dataset)
    facts = [
        ("name", report.name),
        ("path", path),
        ("fingerprint", dataset.card.fingerprint),
        ("samples", f"{report.samples:,}"),
        ("sequences", "word-aligned" if report.aligned else "unaligned"),
        ("labels", ", ".join(report.label_names)),
    ]
    blocks: list[Block] = [Facts(facts), _splits(report), _labels(report), _lengths(report)]
    if report.notes:
        blocks.append(Items(report.notes))

    more: list[Block] = [_labels_per_sample(report)]
    if 1 < len(report.label_names) <= SHOWN_PAIRS:
        more.append(_pairs(report))
    blocks.append(Folded("Labels of a sample, and labels together", more))

    if dataset.card.provenance:
        text = json.dumps(dataset.card.provenance, indent=2, ensure_ascii=False)
        blocks.append(Folded("Where the data come from", [Code(text)]))
    return Section("Data set", blocks)


def _splits(report: DatasetReport) -> Table:
    rows = []
    for name, split in report.splits.items():
        row = [
            name,
            f"{split.samples:,}",
            f"{split.cardinality:.2f}",
            f"{split.unlabelled:,}",
        ]
        row += [f"{split.missing[m]:.1%}" for m in report.modalities]
        rows.append(row)
    header = ["split", "samples", "labels a sample", "without label"]
    header += [f"no {m}" for m in report.modalities]
    return Table(header, rows, "Splits")


def _labels(report: DatasetReport) -> Table:
    rows = []
    for label in report.label_names:
        row = [label]
        for split in report.splits.values():
            count = split.label_counts[label]
            share = split.label_frequencies[label]
            row.append(f"{count:,} ({share:.1%})")
        rows.append(row)
    return Table(("label", *report.splits), rows, "Samples where each label holds")


def _lengths(report: DatasetReport) -> Table:
    rows = []
    for name, modality in report.modalities.items():
        rows.append(
            (
                name,
                str(modality.dim),
                f"{modality.mean_length:.1f}",
                f"{modality.median_length:g}",
                str(modality.max_length),
                f"{modality.missing:.1%}",
            )
        )
    header = ("modality", "features", "mean steps", "median", "longest", "missing")
    return Table(header, rows, "Modalities")


def _labels_per_sample(report: DatasetReport) -> Table:
    found = [held for held, samples in enumerate(report.labels_per_sample) if samples]
    rows = []
    for held in range(max(found, default=0) + 1):
        samples = [split.labels_per_sample[held] for split in report.splits.values()]
        cells = [f"{count:,}" for count in samples]
        rows.append([str(held), *cells])
    return Table(("labels of a sample", *report.splits), rows, "Samples by number of labels")


def _pairs(report: DatasetReport) -> Table:
    rows = []
    for name, counts in zip(report.label_names, report.cooccurrence, strict=True):
        rows.append([name, *(f"{count:,}" for count in counts)])
    header = ("", *report.label_names)
    return Table(header, rows, "Samples where both labels hold, over all splits")


# ---------------------------------------------------------------------- versions


def machine_facts() -> list[tuple[str, str]]:
    """Return what this page was made with, and on."""
    import torch

    software = [f"emotailor {__version__}", f"Python {platform.python_version()}"]
    software += [f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn")]

    machine = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} CPU cores"]
    if torch.cuda.is_available():
        machine += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [("page made with", ", ".join(software)), ("page made on", ", ".join(machine))]
