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
from emotailor.report.page import Block, Code, Facts, Folded, Items, Section, Table, Text
from emotailor.training.run_config import RunConfig

SHOWN_PAIRS = 8  # labels up to which their co-occurrence is a matrix on a page
LINE = 88  # characters of a command on one line
OPTIONS = ("data.path", "training.seed")  # settings that have options of their own
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
    base = RunConfig.build(
        {"data": {"path": config.data.path}}, system=config.system, preset=preset, aligned=aligned
    )
    given, usual = flatten(config.to_json()), flatten(base.to_json())
    different = {
        key: (given.get(key), usual.get(key))
        for key in {**given, **usual}
        if key not in OPTIONS and given.get(key) != usual.get(key)
    }
    return Departures(preset, different)


def departures(config: RunConfig, *, aligned: bool) -> Departures:
    """Compare a configuration with both presets of its system; the nearer one counts."""
    presets: tuple[Preset, ...] = ("paper", "authors")
    each = (departures_from(config, preset, aligned=aligned) for preset in presets)
    return min(each, key=lambda one: len(one.values))


def settings_blocks(config: RunConfig, *, aligned: bool) -> list[Block]:
    """What departs from the preset, then everything, folded."""
    from_preset = departures(config, aligned=aligned)
    every = flatten(config.to_json())
    blocks: list[Block] = []
    if from_preset.values:
        rows = [(key, shown(x), shown(usual)) for key, (x, usual) in from_preset.values.items()]
        title = f"Where it departs from the preset “{from_preset.preset}”"
        blocks.append(Table(("setting", "value", "preset"), rows, title))
    else:
        blocks.append(Text(f"Everything is as in the preset “{from_preset.preset}”."))
    table = Table(("setting", "value"), [(key, shown(value)) for key, value in every.items()])
    blocks.append(Folded(f"All {len(every)} settings", [table]))
    return blocks


def toml_value(value: Any) -> str | None:
    """Return a value as ``--set`` takes it; None where it cannot."""
    if value is None or isinstance(value, Mapping):
        return None
    if (
        isinstance(value, str)
        and _WORD.fullmatch(value)
        and value not in ("true", "false", "inf", "nan")
    ):
        return value  # what is not TOML is a string
    if isinstance(value, list) and None in value:
        return None
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
    options = settings_options({key: x for key, (x, _) in from_preset.values.items()})
    if options is None:
        command += ["--config", f"{run}/config.json"]
    else:
        command += ["--model", config.system, "--preset", from_preset.preset, *options]
    return shell([*command, "--seed", str(config.training.seed), "--out", f"{run}-again"])


def shell(command: Sequence[str]) -> str:
    """Return a command for a shell, on several lines where it is long."""
    pieces: list[str] = []
    for word in command:
        if pieces and not word.startswith("--") and pieces[-1].startswith("--"):
            pieces[-1] += f" {shlex.quote(word)}"  # an option and its value stay together
        else:
            pieces.append(shlex.quote(word))
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) < LINE:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}")
    return " \\\n".join(lines)


# ---------------------------------------------------------------------- data


def data_section(dataset: EmotionDataset, path: str) -> Section:
    """The card of a data set: counts, labels, lengths, where it comes from."""
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
        rows = [
            (name, *(f"{n:,}" for n in row))
            for name, row in zip(report.label_names, report.cooccurrence, strict=True)
        ]
        header = ("", *report.label_names)
        more.append(Table(header, rows, "Samples where both labels hold, over all splits"))
    blocks.append(Folded("Labels of a sample, and labels together", more))
    if dataset.card.provenance:
        text = json.dumps(dataset.card.provenance, indent=2, ensure_ascii=False)
        blocks.append(Folded("Where the data come from", [Code(text)]))
    return Section("Data set", blocks)


def _splits(report: DatasetReport) -> Table:
    rows = [
        (
            name, f"{s.samples:,}", f"{s.cardinality:.2f}", f"{s.unlabelled:,}",
            *(f"{s.missing[m]:.1%}" for m in report.modalities),
        )
        for name, s in report.splits.items()
    ]  # fmt: skip
    header = ("split", "samples", "labels a sample", "without label",
              *(f"no {m}" for m in report.modalities))  # fmt: skip
    return Table(header, rows, "Splits")


def _labels(report: DatasetReport) -> Table:
    rows = [
        (
            label,
            *(
                f"{s.label_counts[label]:,} ({s.label_frequencies[label]:.1%})"
                for s in report.splits.values()
            ),
        )
        for label in report.label_names
    ]
    return Table(("label", *report.splits), rows, "Samples where each label holds")


def _lengths(report: DatasetReport) -> Table:
    rows = [
        (m, str(r.dim), f"{r.mean_length:.1f}", f"{r.median_length:g}", str(r.max_length),
         f"{r.missing:.1%}")
        for m, r in report.modalities.items()
    ]  # fmt: skip
    header = ("modality", "features", "mean steps", "median", "longest", "missing")
    return Table(header, rows, "Modalities")


def _labels_per_sample(report: DatasetReport) -> Table:
    largest = max([k for k, n in enumerate(report.labels_per_sample) if n], default=0)
    rows = [
        (str(k), *(f"{s.labels_per_sample[k]:,}" for s in report.splits.values()))
        for k in range(largest + 1)
    ]
    return Table(("labels of a sample", *report.splits), rows, "Samples by number of labels")


# ---------------------------------------------------------------------- versions


def machine_facts() -> list[tuple[str, str]]:
    """What this page was made with, and on."""
    import torch

    devices = [f"{os.cpu_count()} CPU cores"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    return [
        (
            "page made with",
            f"emotailor {__version__}, Python {platform.python_version()}, {libraries}",
        ),
        ("page made on", f"{platform.system()} {platform.machine()}, {', '.join(devices)}"),
    ]
