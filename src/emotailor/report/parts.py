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
from emotailor.data.inspect import DatasetReport, inspect_dataset, notes_of
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.display import number
from emotailor.models.system import PRESETS, Preset
from emotailor.models.table import find_system
from emotailor.report.page import Block, Code, Facts, Folded, Items, Section, Table, Text
from emotailor.training.recipe import find_card, training_samples
from emotailor.training.run_config import RunConfig

SHOWN_PAIRS = 8  # labels up to which their co-occurrence is a matrix on a page
LINE = 88  # characters of a command on one line
OPTIONS = ("data.path", "training.seed")  # settings that have options of their own
LIBRARIES = ("torch", "numpy", "scikit-learn")  # whose versions can change a number
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
        preset: ``tuned``, ``paper`` or ``authors``.
        values: setting -> its value and that of the preset, without data and seed.
    """

    preset: Preset
    values: Mapping[str, tuple[Any, Any]]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their names with dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{name}.")
        else:  # an empty group is a value
            found[name] = value
    return found


def departures_from(config: RunConfig, preset: Preset, *, aligned: bool) -> Departures:
    """Compare a configuration with a preset of its system."""
    same_data = {"data": {"path": config.data.path}}
    card = find_card(config.data.path)
    samples = None if card is None else training_samples(card, config.data.train_split)
    base = RunConfig.build(
        same_data, system=config.system, preset=preset, aligned=aligned, samples=samples
    )
    given = flatten(config.to_json())
    usual = flatten(base.to_json())

    different = {}
    for key in {**given, **usual}:  # in order, for a page that is the same every time
        if key in OPTIONS:
            continue

        value = given.get(key)
        usual_value = usual.get(key)
        if value != usual_value:
            different[key] = (value, usual_value)
    return Departures(preset, different)


def departures(config: RunConfig, *, aligned: bool) -> Departures:
    """Compare a configuration with the presets of its system; the nearest one counts."""
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
    preset = f"the preset “{found.preset}”"
    if not found.values:
        return Text(f"Everything is as in {preset}.")

    header = ("setting", "value", "preset")
    rows = []
    for key, (value, usual) in found.values.items():
        row = (key, shown(value), shown(usual))
        rows.append(row)

    title = f"Where it departs from {preset}"
    return Table(header, rows, title)


def toml_value(value: Any) -> str | None:
    """Return a value as ``--set`` takes it; None where it cannot."""
    # TOML has no null, and its tables do not fit on a command line
    if value is None or isinstance(value, Mapping):
        return None
    if isinstance(value, list) and None in value:
        return None

    # what is not TOML is a string: a plain word needs no quotes
    is_word = isinstance(value, str) and _WORD.fullmatch(value) is not None
    if is_word and value not in _TOML_WORDS:
        return str(value)
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
    from_preset = departures(config, aligned=aligned)
    changes = {key: value for key, (value, _) in from_preset.values.items()}
    options = settings_options(changes)

    command = ["emotailor", "train"]
    command += ["--data", config.data.path]
    if options is None:
        command += ["--config", f"{run}/config.json"]
    else:
        system = find_system(config.system)
        command += ["--model", system.code or system.name]
        command += ["--preset", from_preset.preset]
        command += options

    # not settings of the preset: they have options of their own
    command += ["--seed", str(config.training.seed)]
    command += ["--out", f"{run}-again"]
    return shell(command)


def shell(command: Sequence[str]) -> str:
    """Return a command for a shell, on several lines where it is long."""
    pieces: list[str] = []
    for word in command:
        quoted = shlex.quote(word)
        is_option = word.startswith("--")
        after_option = bool(pieces) and pieces[-1].startswith("--")
        if after_option and not is_option:
            pieces[-1] += f" {quoted}"  # an option and its value stay together
        else:
            pieces.append(quoted)

    first, *others = pieces
    lines = [first]
    for piece in others:
        line = lines[-1]
        if len(line) + len(piece) < LINE:
            lines[-1] = f"{line} {piece}"
        else:
            lines.append(f"    {piece}")

    # a backslash at the end of a line continues the command
    return " \\\n".join(lines)


# ---------------------------------------------------------------------- data


def data_section(dataset: EmotionDataset, path: str) -> Section:
    """Return the card of a data set: counts, labels, lengths, where it comes from."""
    report = inspect_dataset(dataset)
    card = dataset.card

    facts = [
        ("name", report.name),
        ("path", path),
        ("fingerprint", card.fingerprint),
        ("samples", f"{report.samples:,}"),
        ("sequences", "word-aligned" if report.aligned else "unaligned"),
        ("labels", ", ".join(report.label_names)),
    ]
    blocks: list[Block] = [Facts(facts)]
    blocks += [_splits(report), _labels(report), _lengths(report)]
    notes = notes_of(report)
    if notes:
        blocks.append(Items(notes))

    more: list[Block] = [_labels_per_sample(report)]
    labels = len(report.label_names)
    if 1 < labels <= SHOWN_PAIRS:
        more.append(_pairs(report))
    blocks.append(Folded("Labels of a sample, and labels together", more))

    if card.provenance:
        text = json.dumps(card.provenance, indent=2, ensure_ascii=False)
        blocks.append(Folded("Where the data come from", [Code(text)]))
    return Section("Data set", blocks)


def _splits(report: DatasetReport) -> Table:
    header = ["split", "samples", "labels a sample", "without label"]
    header += [f"no {m}" for m in report.modalities]

    rows = []
    for name, split in report.splits.items():
        samples = f"{split.samples:,}"
        cardinality = f"{split.cardinality:.2f}"
        unlabelled = f"{split.unlabelled:,}"
        row = [name, samples, cardinality, unlabelled]

        # share of the samples that have nothing of a modality
        for m in report.modalities:
            missing = split.missing[m]
            row.append(f"{missing:.1%}")
        rows.append(row)

    return Table(header, rows, "Splits")


def _labels(report: DatasetReport) -> Table:
    header = ["label", *report.splits]

    rows = []
    for label in report.label_names:
        row = [label]
        for split in report.splits.values():
            count = split.label_counts[label]
            share = split.label_frequencies[label]
            row.append(f"{count:,} ({share:.1%})")
        rows.append(row)

    title = "Samples where each label holds"
    return Table(header, rows, title)


def _lengths(report: DatasetReport) -> Table:
    header = ("modality", "features", "mean steps", "median", "longest", "missing")

    rows = []
    for name, modality in report.modalities.items():
        row = (
            name,
            str(modality.dim),
            f"{modality.mean_length:.1f}",
            f"{modality.median_length:g}",
            str(modality.max_length),
            f"{modality.missing:.1%}",
        )
        rows.append(row)

    return Table(header, rows, "Modalities")


def _labels_per_sample(report: DatasetReport) -> Table:
    # rows up to the most labels that any sample has
    most = 0
    for held, samples in enumerate(report.labels_per_sample):
        if samples:
            most = held

    rows = []
    for held in range(most + 1):
        row = [str(held)]
        for split in report.splits.values():
            count = split.labels_per_sample[held]
            row.append(f"{count:,}")
        rows.append(row)

    header = ("labels of a sample", *report.splits)
    return Table(header, rows, "Samples by number of labels")


def _pairs(report: DatasetReport) -> Table:
    """Return how often two labels hold together; on the diagonal, how often one holds."""
    header = ("", *report.label_names)
    table = zip(report.label_names, report.cooccurrence, strict=True)

    rows = []
    for name, counts in table:
        cells = [f"{count:,}" for count in counts]
        rows.append([name, *cells])

    title = "Samples where both labels hold, over all splits"
    return Table(header, rows, title)


# ---------------------------------------------------------------------- versions


def machine_facts() -> list[tuple[str, str]]:
    """Return what this page was made with, and on."""
    import torch

    python = platform.python_version()
    software = [f"emotailor {__version__}", f"Python {python}"]
    software += [f"{name} {version(name)}" for name in LIBRARIES]

    system = platform.system()
    processor = platform.machine()
    machine = [f"{system} {processor}", f"{os.cpu_count()} CPU cores"]

    if torch.cuda.is_available():
        devices = torch.cuda.device_count()
        machine += [torch.cuda.get_device_name(i) for i in range(devices)]

    made_with = ("page made with", ", ".join(software))
    made_on = ("page made on", ", ".join(machine))
    return [made_with, made_on]
