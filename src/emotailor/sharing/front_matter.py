"""The head of a model card: what the Hugging Face Hub reads of a model, as YAML.

JSON is YAML. So every value is written as JSON, and no library is needed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from emotailor.evaluation.display import title_of
from emotailor.sharing.facts import Facts, Result
from emotailor.text import visible

PIPELINES: dict[tuple[str, ...], str] = {
    ("text",): "text-classification",
    ("audio",): "audio-classification",
}
"""What the model takes -> how the Hub calls what it does; all else comes from videos."""

METRICS = {
    "micro_f1": "f1",
    "macro_f1": "f1",
    "micro_precision": "precision",
    "micro_recall": "recall",
    "mean_roc_auc": "roc_auc",
}
"""Metric -> what the Hub calls it, where it has another name."""

_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def front_matter(facts: Facts, name: str, licence: str) -> str:
    """Return the head of the card, between its two lines.

    Args:
        facts: what the model knows of itself.
        name: of the model.
        licence: of its weights, as the Hub calls it.
    """
    data = str(facts.card.data.get("name", ""))
    values: dict[str, Any] = {
        "license": licence,
        "language": list(facts.languages),
        "library_name": "emotailor",
        "pipeline_tag": PIPELINES.get(facts.modalities, "video-classification"),
        "tags": _tags(facts),
        "datasets": [data] if _DATASET.fullmatch(data) else [],
        "metrics": sorted({METRICS.get(n, n) for result in facts.results for n in _given(result)}),
        "model-index": [{"name": name, "results": [_result(facts, r) for r in facts.results]}],
    }
    # the Hub takes no model without results for one that has an index
    if not facts.results:
        del values["model-index"]

    lines = [f"{key}: {_json(value)}" for key, value in values.items() if value]
    return "\n".join(["---", *lines, "---"])


def _tags(facts: Facts) -> list[str]:
    tags = ["emotailor", "emotion-recognition", "multi-label-classification"]
    if len(facts.modalities) > 1:
        tags.append("multimodal")
    system = re.sub(r"[^\w-]+", "-", facts.card.system)
    return [*tags, system, *facts.modalities]


def _result(facts: Facts, result: Result) -> dict[str, Any]:
    """Return one entry of the index: a task, a data set, and metrics on it."""
    dataset = {"name": result.data, "type": result.data, "split": result.split}
    if result.fingerprint:
        dataset["revision"] = result.fingerprint
    task = {
        "type": PIPELINES.get(facts.modalities, "video-classification"),
        "name": "multi-label emotion recognition",
    }
    metrics = []
    for name, value in _given(result).items():
        kind = METRICS.get(name, name)
        metrics.append({"type": kind, "name": title_of(name), "value": round(value, 6)})
    return {"task": task, "dataset": dataset, "metrics": metrics}


def _given(result: Result) -> Mapping[str, float]:
    """Return the metrics of a result that have a value."""
    return {name: value for name, value in result.metrics.items() if value is not None}


def _json(value: str | Sequence[Any]) -> str:
    return json.dumps(_shown(value), ensure_ascii=False)


def _shown(value: Any) -> Any:
    """Return a value whose texts show whole: YAML takes no characters that do not."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _shown(inner) for name, inner in value.items()}
    return value
