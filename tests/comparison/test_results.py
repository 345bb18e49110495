"""What a comparison has found, as stored: older files, damaged files, files of a first call."""

import json
from pathlib import Path
from typing import Any

import pytest

from emotailor.comparison.results import (
    VERSION,
    find_benchmark,
    read_benchmark,
    read_ended,
    write_benchmark,
)
from emotailor.errors import DataError
from emotailor.evaluation.metrics import OVERALL
from emotailor.verified import with_hash

ROW = {"title": "BR", "status": "failed", "runs": []}
METRICS = {
    **dict.fromkeys(OVERALL, 0.5),
    "samples": 3,
    "labels": {},
    "without_average_precision": [],
    "without_roc_auc": [],
}
RUN = {"seed": 7, "folder": "o/br/seed7", "log": "o/br/seed7.log"}


def stored(**changes: Any) -> dict[str, Any]:
    """Return a small file as the first versions wrote it."""
    return {
        "format": "emotailor-benchmark",
        "emotailor": "0.1",
        "data": {"name": "d", "path": "p", "fingerprint": "f", "aligned": True, "samples": {}},
        "split": "test",
        "thresholds": "tuned",
        "systems": {
            "br": {"title": "BR", "status": "failed", "runs": [{**RUN, "failed": "no memory"}]}
        },
        **changes,
    }


def test_older_files_are_read_and_written_again(tmp_path: Path) -> None:
    file = tmp_path / "benchmark.json"
    file.write_text(json.dumps(stored()))
    found = read_benchmark(file)
    assert (found.version, found.is_ablation) == (1, False)
    (run,) = found.systems["br"].runs
    assert (run.seed, run.failed, run.metrics) == (7, "no memory", {})
    assert (found.tested(), found.systems["br"].done) == (set(), 0)
    write_benchmark(file, found)
    assert json.loads(file.read_text())["version"] == VERSION
    assert read_benchmark(file) == found.model_copy(update={"version": VERSION})


def test_a_first_call_that_has_not_ended(tmp_path: Path) -> None:
    file = tmp_path / "ablation.json"
    assert find_benchmark(tmp_path) is None
    file.write_text('{"format": "emotailor-ablation", "data": {}}')
    assert find_benchmark(tmp_path) == file
    assert read_ended(file) is None
    with pytest.raises(DataError, match="holds no results yet"):
        read_benchmark(file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1]", "a list"),
        (json.dumps(stored(format="emotailor-run")), "format: "),
        (json.dumps(with_hash(stored(version=VERSION + 1))), "version: "),
        (json.dumps(stored(thresholds="guessed")), "thresholds: "),
        (json.dumps(stored(systems={"br": {"title": "BR", "status": "done"}})), "systems.br.runs"),
        (
            json.dumps(stored(systems={"br": {"title": "BR", "status": "odd", "runs": []}})),
            "status",
        ),
        (json.dumps(stored(systems={})), "systems is empty"),
        (json.dumps(stored(systems={"br": {**ROW, "runs": [RUN, RUN]}})), "two runs have one seed"),
        (
            json.dumps(
                stored(
                    systems={
                        "br": {**ROW, "runs": [RUN]},
                        "cc": {**ROW, "runs": [{**RUN, "seed": 8}]},
                    }
                )
            ),
            "other seeds",
        ),
        (
            json.dumps(
                stored(
                    systems={
                        "br": {**ROW, "summary": {"runs": 1, "overall": {}, "labels": {}}},
                    }
                )
            ),
            "no micro_f1",
        ),
        (
            json.dumps(
                stored(systems={"br": {**ROW, "runs": [{**RUN, "metrics": {"fixed": METRICS}}]}})
            ),
            "no metrics under tuned",
        ),
        (
            json.dumps(
                stored(
                    systems={"br": {**ROW, "runs": [{**RUN, "metrics": {"tuned": METRICS}}]}},
                    metrics=["mine"],
                )
            ),
            "no mine",
        ),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "benchmark.json"
    file.write_text(content)
    for read in (read_benchmark, read_ended):
        with pytest.raises(DataError) as caught:
            read(file)
        assert str(file) in caught.value.found
        assert why in caught.value.found
        assert (caught.value.__cause__ is None) == (content == "[1]")  # no error of JSON


def test_a_lost_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"benchmark\.json is damaged"):
        read_ended(tmp_path / "benchmark.json")
