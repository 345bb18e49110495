"""Metrics in a notebook: short, escaped, and as data frames where pandas is there."""

import numpy as np
import pytest

from emotailor.errors import ConfigError
from emotailor.evaluation.comparison import Interval, PairedDifference, Spread, bootstrap
from emotailor.evaluation.metrics import OVERALL, evaluate
from emotailor.evaluation.notebook import html_table
from emotailor.frames import data_frame
from tests.evaluation.fake_pandas import with_fake_pandas, without_pandas

NAMES = ("<happy>", "sad", "rare")
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
SCORES = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.2], [0.7, 0.1, 0.3], [0.6, 0.3, 0.4]])
METRICS = evaluate(LABELS, SCORES, NAMES, 0.5)


def test_an_interval_is_one_short_text() -> None:
    interval = Interval(value=0.65649, low=0.6111, high=0.69777, level=0.95)
    assert str(interval) == repr(interval) == "0.656 [0.611, 0.698]"
    assert f"{interval}" == "0.656 [0.611, 0.698]"
    assert f"{interval:.2f}" == "0.66 [0.61, 0.70]"
    assert interval._repr_html_() == "<span>0.656 [0.611, 0.698]</span>"
    difference = PairedDifference(value=0.0122, low=-0.0031, high=0.0275, level=0.95, p_value=0.034)
    assert str(difference) == repr(difference) == "+0.012 [-0.003, +0.028], p = 0.0340"
    assert f"{difference}" == str(difference)
    assert f"{difference:+.2f}" == "+0.01 [-0.00, +0.03]"
    assert str(Spread(mean=0.5694, std=0.0031, runs=3)) == "0.569 ± 0.003"
    assert repr(Spread(mean=0.5694, std=None, runs=1)) == "0.569"


def test_metrics_are_short_and_escaped() -> None:
    text = repr(METRICS)
    assert text.startswith("Metrics(4 samples, 3 labels: accuracy=")
    assert f"micro_f1={METRICS.micro_f1:.3f}" in text
    assert len(text) < 400
    html = METRICS._repr_html_()
    assert "&lt;happy&gt;" in html
    assert "<happy>" not in html
    assert f"<th>micro_f1</th><td>{METRICS.micro_f1:.3f}</td>" in html
    # the label without positives: threshold, support, predicted, P, R, F1, AP, AUC
    cells = ("0.500", "0", "0", "0.000", "0.000", "0.000", "n/a", "n/a")
    assert "<th>rare</th>" + "".join(f"<td>{cell}</td>" for cell in cells) in html


def test_a_table_holds_no_markup_of_its_cells() -> None:
    html = html_table(("<a>",), [("b&c", '"', "<script>")], caption="<i>")
    for raw in ("<a>", "b&c<", "<script>", "<i>"):
        assert raw not in html
    assert "<caption>&lt;i&gt;</caption>" in html
    assert "<thead>" not in html_table((), [("a", 1)])


def test_metrics_as_data_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    with_fake_pandas(monkeypatch)
    frame = METRICS.to_dataframe()
    assert frame.index == "metric"
    assert [row["metric"] for row in frame.rows] == list(OVERALL)
    assert {row["metric"]: row["value"] for row in frame.rows} == METRICS.overall()
    labels = METRICS.labels_to_dataframe()
    assert labels.index == "label"
    assert [row["label"] for row in labels.rows] == list(NAMES)
    assert labels.rows[1]["f1"] == METRICS.labels["sad"].f1
    assert labels.rows[2]["roc_auc"] is None


def test_without_pandas_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pandas(monkeypatch)
    with pytest.raises(ConfigError, match=r"pandas[\s\S]*pip install pandas") as caught:
        METRICS.to_dataframe()
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(ConfigError):
        data_frame([], index="x")


def test_intervals_of_a_bootstrap_are_shown_in_a_dictionary() -> None:
    found = bootstrap(LABELS, SCORES, 0.5, resamples=20)
    assert f"'micro_f1': {found['micro_f1']}" in repr(found)
