"""The model card: what whoever finds a model must know of it, in Markdown."""

import re
import shlex
from collections.abc import Iterable, Sequence

from emotailor.evaluation.display import number, title_of
from emotailor.sharing.facts import Facts, Result
from emotailor.sharing.front_matter import front_matter
from emotailor.text import plural, sentence, visible

NOT_FOR = (
    "decisions about people: hiring, teaching, policing, credit, insurance, health, custody",
    "emotions at work and at school, which the European Union's AI Act forbids to infer there",
    "what a person feels: it says what those who labelled its data would name",
)
"""What no model of this kind must be used for."""

SAID = "What a day! I am so happy that you are here."


def readme(facts: Facts, name: str, place: str, licence: str) -> str:
    """Return the model card.

    Args:
        facts: what the model knows of itself.
        name: of the model.
        place: how commands name it: ``hf://user/name``, or a folder.
        licence: of its weights, as the Hub calls it.
    """
    labels = ", ".join(facts.card.label_names)
    what = " and ".join(facts.modalities)
    parts = [
        front_matter(facts, name, licence),
        f"# {_plain(name)}",
        f"Which emotions does a person show, when several show at once? This model answers from "
        f"{what}, for each of: {_plain(labels)}. It is {_plain(facts.title)}, trained with "
        "emotailor.",
        *_usage(facts, place),
        *_made_of(facts),
        *_results(facts),
        *_thresholds(facts),
        *_limits(facts),
        *_bullets("## What it must not be used for", [*facts.not_for] or list(NOT_FOR)),
        *_licence(facts, licence),
    ]
    if facts.paper:
        parts += ["## Citation", _plain(facts.paper)]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------------- how to use it


def commands(facts: Facts, place: str) -> list[str]:
    """Return the command lines of the card; each works for this model.

    Args:
        facts: what the model knows of itself.
        place: how commands name it.
    """
    model = shlex.quote(place)
    # code of others is loaded where it is named alone
    own = "" if facts.is_known else " --model MODULE:CLASS"
    found = []
    if facts.reads_texts:
        found.append(f"emotailor predict {model} --text {shlex.quote(SAID)}{own}")
    if facts.takes_videos:
        found.append(f"emotailor predict {model} clip.mp4{own}")
    found.append(f"emotailor predict {model} DATA{own}")
    found.append(f"emotailor evaluate {model} --data DATA{own}")
    return found


def _usage(facts: Facts, place: str) -> list[str]:
    extras = ["hub"] if place.startswith("hf://") else []
    if facts.takes_videos:
        extras.append("video")
    elif facts.encoder is not None:
        extras.append("glove" if facts.encoder == "glove" else "text")
    named = f"[{','.join(extras)}]" if extras else ""

    lines = [f'pip install "emotailor{named}"', *commands(facts, place)]
    parts = ["## How to use it", "\n".join(["```sh", *lines, "```"])]
    if not place.startswith("hf://"):
        parts.append(f"`{place}` is this folder.")

    features = ", ".join(f"{m}: {width} values a step" for m, width in facts.card.dims.items())
    steps = "word-aligned steps" if facts.card.aligned else "steps of their own in each modality"
    parts.append(
        f"`DATA` is a data set that `emotailor data convert` or `emotailor extract` made, or an "
        f"`.npz` with these arrays ({features}; {steps}). From Python:"
    )
    arrays = ", ".join(f'"{m}": {m}' for m in facts.card.dims)
    shapes = "; ".join(f"{m} (steps, {width})" for m, width in facts.card.dims.items())
    python = [
        "```python",
        "import emotailor",
        "",
        f"model = emotailor.Predictor.load({place!r})",
        f"prediction = model.predict({{{arrays}}}, explain=True)  # arrays: {shapes}",
        "print(prediction.labels, prediction.probabilities)",
        "```",
    ]
    return [*parts, "\n".join(python)]


# ---------------------------------------------------------------------- what it is


def _made_of(facts: Facts) -> list[str]:
    card = facts.card
    data = str(card.data.get("name", card.data.get("imported", "unknown")))
    rows = [
        ("system", f"{facts.title} (`{card.system}`)"),
        ("labels", ", ".join(card.label_names)),
        ("training data", f"{data}, fingerprint {card.fingerprint or 'unknown'}"),
        ("sequences", "word-aligned" if card.aligned else "unaligned"),
        ("features", "standardised by the model" if card.standardized else "taken as they are"),
    ]
    for modality, width in card.dims.items():
        extraction = card.extraction.get(modality)
        how = "how they were made is not known" if extraction is None else extraction.describe()
        rows.append((modality, f"{width} values a step; {how}"))
    if card.adapters.rank:
        encoder = card.adapters.encoder
        rows.append(("text encoder", f"{encoder}, trained along by adapters; not in this folder"))
    if card.scaled is not None:
        fitted = card.scaled.data
        rows.append(
            (
                "probabilities",
                f"{card.scaled.scaling.method} scaling, fitted on split "
                f"{fitted.get('split', 'valid')} of {fitted.get('name', 'its data')}",
            )
        )
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    rows.append(("made with", versions))
    return ["## What it is", _table(("", ""), rows)]


def _results(facts: Facts) -> list[str]:
    if not facts.results:
        return [
            "## How good it is",
            "No evaluation was stored when this card was written: nothing is known of how good it "
            "is on samples that it has not seen.",
        ]
    parts = ["## How good it is"]
    for result in facts.results:
        parts += _result(result)
    return parts


def _result(result: Result) -> list[str]:
    """Return one split: overall metrics with their intervals, then the labels."""
    rows = []
    for name, value in result.metrics.items():
        interval = result.intervals.get(name)
        ends = "" if interval is None else f"[{number(interval.low)}, {number(interval.high)}]"
        rows.append((title_of(name), number(value), ends))

    levels = {f"{100 * interval.level:g} %" for interval in result.intervals.values()}
    header = ("metric", "value", f"{' '.join(sorted(levels))} interval".strip())
    labels = []
    for name, label in result.labels.items():
        shares = (label.held, label.named, label.precision, label.recall)
        ranked = (label.average_precision, label.roc_auc)
        labels.append((name, *map(number, shares), *map(number, ranked)))

    mark = f", fingerprint {result.fingerprint}" if result.fingerprint else ""
    where = f"split {result.split} of {result.data}{mark}, {plural(result.samples, 'sample')}"
    parts = [
        f"On {_plain(where)}, thresholds `{result.thresholds}`:",
        _table(header, rows),
        _table(("label", "holds for", "named for", "precision", "recall", "AP", "AUC"), labels),
    ]
    return [*parts, *_bullets("Beside it, on the same samples:", result.beside)]


def _thresholds(facts: Facts) -> list[str]:
    card = facts.card
    mode = card.default_thresholds
    rows = [(name, f"{card.thresholds[mode].values[name]:.3f}") for name in card.label_names]
    kinds = ", ".join(f"`{name}`" for name in card.thresholds)
    return [
        "## Thresholds",
        f"A label is named where its probability is above its threshold, by default of the kind "
        f"`{mode}`. `--thresholds` chooses among {kinds}; they were chosen on validation data.",
        _table(("label", "threshold"), rows),
    ]


def _limits(facts: Facts) -> list[str]:
    missing = [m for m in ("visual", "audio", "text") if m not in facts.modalities]
    lines = []
    if missing:
        taken = " and ".join(facts.modalities)
        lines.append(f"It takes {taken} alone: {' and '.join(missing)} features are no evidence")
    unknown = [m for m in facts.modalities if m not in facts.card.extraction]
    if unknown:
        lines.append(
            f"How the features of {', '.join(unknown)} were made is not stored: others of the same "
            "width are taken without a warning, and mean nothing to it"
        )
    if not facts.results:
        lines.append("It was not evaluated")
    if not facts.is_known:
        lines.append("Its system is code that does not come with emotailor, and is not in here")
    lines += [
        "Its probabilities and thresholds hold for data such as those that it was trained on; for "
        "others, evaluate it first",
        "Evidence says what the model reacts to, not what people feel, and not why",
        *facts.findings,
    ]
    return _bullets("## Limits", [sentence(line) for line in lines])


def _licence(facts: Facts, licence: str) -> list[str]:
    lines = [f"Weights: `{licence}`. The data that it was trained on have a licence of their own."]
    return ["## Licence", *lines, *_bullets("", [f"{w}: {t}" for w, t in facts.licences.items()])]


# ---------------------------------------------------------------------- Markdown


def _bullets(title: str, lines: Iterable[str]) -> list[str]:
    """Return a titled list; nothing where it has no lines."""
    items = [f"- {_plain(line)}" for line in lines]
    if not items:
        return []
    listed = "\n".join(items)
    return [title, listed] if title else [listed]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(header), _row(["---"] * len(header))]
    lines += [_row([_cell(cell) for cell in row]) for row in rows]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return _plain(text).replace("\n", " ")


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is; what stands in marks of code stays code."""
    parts = re.split(r"(`[\w.:-]+`)", visible(text))
    shown = []
    for place, part in enumerate(parts):
        is_code = place % 2 == 1
        shown.append(part if is_code else re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", part))
    return "".join(shown)
