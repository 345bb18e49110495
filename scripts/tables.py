"""Tables of the documentation, written from configuration classes and the shipped model's card.

    python scripts/tables.py            # rewrite what stands between the markers
    python scripts/tables.py --check    # change nothing; exit code 1 where a page is out of date

A page holds the markers ``<!-- table: NAME -->`` and ``<!-- /table -->``. NAME is ``training``,
``data``, ``alignment``, ``synthetic``, a part of the extraction or a system; ``NAME without OTHER``
leaves out what is in the table of OTHER; ``words_…`` is a table of numbers of the model that ships.
A row of the others has the name of the field, its default, the values in the authors' program and
in the preset ``tuned`` where they differ, the values a word may have, and the comment beside the
field. So the comment in the code is the one place where a setting is explained. ``acoustic`` is the
table of the features of sound.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from emotailor.commands.models import field_comments
from emotailor.config import Config
from emotailor.data.synthetic import SyntheticConfig
from emotailor.evaluation.comparison import Interval, PairedDifference
from emotailor.evaluation.display import title_of
from emotailor.extraction.acoustic import ACOUSTIC_FEATURES
from emotailor.extraction.config import (
    ExtractionConfig,
    PictureConfig,
    SoundConfig,
    SpeechConfig,
    UtteranceConfig,
)
from emotailor.models.adapters.config import AdapterConfig
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.table import SYSTEMS, find_system
from emotailor.shipped.card import COMPARED, ShippedCard, read_card
from emotailor.training.config import TrainingConfig
from emotailor.training.run_config import DataConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"

SHARED: dict[str, type[Config]] = {
    "training": TrainingConfig,
    "data": DataConfig,
    "alignment": AlignmentConfig,
    "adapters": AdapterConfig,
    "synthetic": SyntheticConfig,
    "extraction": ExtractionConfig,
    "picture": PictureConfig,
    "sound": SoundConfig,
    "speech": SpeechConfig,
    "utterance": UtteranceConfig,
}
"""Tables that are of no single system, by name."""

FEATURES = {"acoustic": ACOUSTIC_FEATURES}
"""Tables of features by name: what a column is called -> what it is."""

PREFIXED = ("training", "data", "picture", "sound", "speech", "utterance")
"""Those whose settings are written with the name of the table in front."""

BLOCK = re.compile(
    r"^<!-- table: (?P<name>\w+)(?: without (?P<without>\w+))? -->\n(?P<body>.*?)^<!-- /table -->$",
    re.MULTILINE | re.DOTALL,
)


def config_of(name: str) -> type[Config]:
    """Return the configuration class of a table."""
    return SHARED[name] if name in SHARED else find_system(name).config


def value_text(value: Any) -> str:
    """Return a value as one writes it in a configuration file; a word without quotation marks."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return str(value)


def words_of(annotation: Any) -> tuple[str, ...]:
    """Return the words that a setting may be, those of a union or of a tuple too."""
    if get_origin(annotation) is Literal:
        return tuple(word for word in get_args(annotation) if isinstance(word, str))
    words: dict[str, None] = {}
    for inner in get_args(annotation):
        words |= dict.fromkeys(words_of(inner))
    return tuple(words)


def meaning_of(config: type[Config], field: str) -> str:
    """Return what a setting means, as Markdown in a cell: its comment and its possible words."""
    info = config.model_fields[field]
    text = info.description or field_comments(config)[field]
    text = text.rstrip(".")
    if not text:
        raise SystemExit(f"{config.__name__}.{field} has no comment that says what it means")

    for plain, escaped in (("|", r"\|"), ("<", "&lt;"), ("*", r"\*"), ("_", r"\_")):
        text = text.replace(plain, escaped)
    words = words_of(info.annotation)
    if words:
        text += f" ({', '.join(f'`{word}`' for word in words)})"
    return text


Values = dict[str, Any]
Rows = list[list[str]]


def presets_of(config: type[Config]) -> tuple[Values, Values, Values]:
    """Return defaults, the authors' values and the tuned ones; a field without one is missing."""
    if hasattr(config, "paper") and hasattr(config, "authors"):
        tuned = config.tuned() if hasattr(config, "tuned") else config.paper()
        return dict(config.paper()), dict(config.authors()), dict(tuned)
    fields = config.model_fields.items()
    defaults = {name: info.get_default() for name, info in fields if not info.is_required()}
    return defaults, defaults, defaults


def rows_of(name: str, without: str | None) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield setting, default, the authors' and the tuned value (empty: the default) and meaning."""
    config = config_of(name)
    left_out = set(config_of(without).model_fields) if without else set()
    defaults, authors, tuned = presets_of(config)
    for field in config.model_fields:
        # a table in a table has a page or a place of its own
        if field in left_out or isinstance(defaults.get(field), Config):
            continue
        if field not in defaults:
            yield f"`{field}`", "—", "", "", meaning_of(config, field)
            continue
        default = value_text(defaults[field])
        others = [value_text(preset[field]) for preset in (authors, tuned)]
        of_authors, of_tuned = (f"`{other}`" if other != default else "" for other in others)
        yield f"`{field}`", f"`{default}`", of_authors, of_tuned, meaning_of(config, field)


def table(name: str, without: str | None = None) -> str:
    """Return a table as Markdown; the column of a preset is there where one value differs."""
    rows = list(rows_of(name, without))
    first = f"`{name}.`" if name in PREFIXED else "setting"
    header = [first, "default", "`authors()`", "`tuned()`", "meaning"]
    lines = [header, ["---"] * len(header), *map(list, rows)]

    for column in (3, 2):  # from the right, so that the numbers of the others stay
        if not any(row[column] for row in rows):
            lines = [line[:column] + line[column + 1 :] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def feature_table(features: dict[str, str]) -> str:
    """Return features as Markdown; those that differ by a number are one row."""
    rows: dict[str, list[str]] = {}
    for name, meaning in features.items():
        # the number of a feature is in its name and in its meaning
        number = re.search(r"_(\d+)", name)
        shown = meaning.replace(f" {number[1]} ", " _i_ ", 1) if number else meaning
        rows.setdefault(shown, []).append(name)

    lines = ["| feature | what it is |\n", "|---|---|\n"]
    for meaning, names in rows.items():
        cell = f"`{names[0]}`"
        if len(names) > 1:
            cell += f" to `{names[-1]}`"
        lines.append(f"| {cell} | {meaning} |\n")
    return "".join(lines)


# ---------------------------------------------------------------------- the model that ships


def decimal(value: float) -> str:
    """Return a number from -1 to 1 as papers write it: .551."""
    return f"{value:.3f}".replace("0.", ".", 1)


def ends(interval: Interval) -> str:
    """Return a number and its interval."""
    return f"{decimal(interval.value)} [{decimal(interval.low)}, {decimal(interval.high)}]"


def difference(found: PairedDifference) -> str:
    """Return a difference, its interval and p."""
    low, high = (f"{end:+.3f}".replace("0.", ".", 1) for end in (found.low, found.high))
    value = f"{found.value:+.3f}".replace("0.", ".", 1)
    return f"{value} [{low}, {high}], p {decimal(found.p_value)}"


def words_labels(card: ShippedCard) -> Rows:
    """Scores of each label."""
    rows = [["label", "holds for", "named for", "precision", "recall", "AP", "AUC"]]
    for name, label in card.labels.items():
        plain = (label.held, label.named, label.precision, label.recall)
        ranked = (label.average_precision, label.roc_auc)
        rows.append([name, *map(decimal, plain), *map(ends, ranked)])
    return rows


def words_thresholds(card: ShippedCard) -> Rows:
    """What each kind of thresholds does on validation data."""
    names = sorted(card.labels, key=lambda name: -card.labels[name].held)
    rows = [["thresholds", "micro-F1", "macro-F1", "wrong decisions", *names]]
    for mode, trial in card.thresholds_tried.items():
        scores = (trial.micro_f1, trial.macro_f1, trial.hamming_loss)
        named = [trial.named[name] for name in names]
        rows.append([f"`{mode}`", *map(decimal, scores), *map(decimal, named)])
    return rows


def words_beside(card: ShippedCard) -> Rows:
    """Other systems on the same samples."""
    rows = [["system", "thresholds of both", "metric", "its", "`words` minus its"]]
    for other in card.beside:
        for metric in COMPARED:
            of_other = decimal(other.scores[metric])
            gained = difference(other.differences[metric])
            rows.append([other.name, f"`{other.thresholds}`", title_of(metric), of_other, gained])
    return rows


def words_damaged(card: ShippedCard) -> Rows:
    """What wrong words do."""
    rows = [["words", "metric", "then", "difference"]]
    for damaged in card.damaged:
        for metric in COMPARED:
            changed = difference(damaged.differences[metric])
            rows.append([damaged.name, title_of(metric), ends(damaged.scores[metric]), changed])
    return rows


def words_elsewhere(card: ShippedCard) -> Rows:
    """Texts of other sources."""
    names = list(card.labels)
    rows = [["texts", "number", "mAP", "mAP of label frequencies", "mean AUC"]]
    for other in card.other_texts:
        precision = ends(other.scores["mean_average_precision"])
        area = ends(other.scores["mean_roc_auc"])
        title = f"{other.name}: {other.kind}"
        chance = decimal(other.frequencies)
        rows.append([title, f"{other.samples:,}", precision, chance, area])
    for row, other in zip(rows[1:], card.other_texts, strict=True):
        row += [ends(other.roc_auc[name]) for name in names]
    rows[0] += [f"AUC {name}" for name in names]
    return rows


NUMBERS: dict[str, Callable[[ShippedCard], Rows]] = {
    "words_labels": words_labels,
    "words_thresholds": words_thresholds,
    "words_beside": words_beside,
    "words_damaged": words_damaged,
    "words_elsewhere": words_elsewhere,
}
"""Tables of the model that ships, by name."""


def numbers(name: str) -> str:
    """Return a table of the model that ships as Markdown."""
    header, *rows = NUMBERS[name](read_card())
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---------------------------------------------------------------------- pages


def rewrite(text: str) -> str:
    """Return the text of a page with every table as the code has it."""

    def fresh(found: re.Match[str]) -> str:
        start = found["name"] + (f" without {found['without']}" if found["without"] else "")
        if found["name"] in FEATURES:
            body = feature_table(FEATURES[found["name"]])
        elif found["name"] in NUMBERS:
            body = numbers(found["name"])
        else:
            body = table(found["name"], found["without"])
        return f"<!-- table: {start} -->\n\n{body}\n<!-- /table -->"

    return BLOCK.sub(fresh, text)


def names_in(text: str) -> list[str]:
    """Return the names of the tables of a page."""
    return [found["name"] for found in BLOCK.finditer(text)]


def main(arguments: list[str] | None = None) -> int:
    """Rewrite or check all pages; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, report")
    check = parser.parse_args(arguments).check

    shown = set()
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        shown |= set(names_in(text))
        fresh = rewrite(text)
        if fresh == text:
            continue
        stale.append(page.relative_to(DOCS.parent))
        if not check:
            page.write_text(fresh, encoding="utf-8")

    missing = sorted({*SHARED, *SYSTEMS, *FEATURES} - shown)
    if missing:
        print(f"no page has the table of {', '.join(missing)}")
    for page in stale:
        print(f"{page}: {'is not what the code says' if check else 'written'}")
    if check and stale:
        print("run `python scripts/tables.py`")
    return 1 if missing or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
