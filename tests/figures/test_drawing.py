"""Drawings: limits that mean the same in every run, nothing empty, letters that can be read."""

import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from emotailor.figures import draw_inside, draw_scores, drawing
from emotailor.figures.heat import (
    doublings,
    scale_of_attention,
    scale_of_differences,
    scale_of_shares,
)

CAPTION: dict[str, Any] = {"summary": "What is seen.", "left_out": [], "caption": "Whose it is."}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def drawn(draw: Any, numbers: dict[str, Any]) -> Figure:
    with drawing.style():
        figure: Figure = draw({**CAPTION, **numbers})
        drawing.render(figure, "svg")
    return figure


def panels(figure: Figure) -> list[Any]:
    return [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of names of one axis that lie over each other."""
    found = []
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            names = [name for name in axis.get_ticklabels() if name.get_text()]
            if not axis.get_visible() or any(name.get_rotation() not in (0, 90) for name in names):
                continue
            shown = [name for name in names if name.get_visible()]
            boxes = [name.get_window_extent(renderer) for name in shown]
            for (a, one), (b, other) in zip(
                list(zip(shown, boxes, strict=True)), list(zip(shown, boxes, strict=True))[1:],
                strict=False,
            ):  # fmt: skip
                if one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)):
                    found.append((a.get_text(), b.get_text()))
    return found


def pr_numbers(labels: int, predicted: list[int]) -> dict[str, Any]:
    """Curves of labels, at whose four kinds of threshold so many samples are predicted."""
    kinds = ("fixed", "tuned", "per_label", "macro")
    thresholds = {}
    for kind, count in zip(kinds, predicted, strict=True):
        thresholds[kind] = {"predicted": count, "recall": 0.5, "precision": 0.5}
    label = {
        "frequency": 0.3,
        "average_precision": 0.4,
        "recall": [1.0, 0.0],
        "precision": [0.3, 1.0],
        "thresholds": thresholds,
    }
    return {"labels": {f"label {j}": label for j in range(labels)}}


@pytest.mark.parametrize("labels", [6, 12])
def test_titles_of_panels_do_not_run_into_each_other(labels: int) -> None:
    figure = drawn(draw_scores.precision_recall, pr_numbers(labels, [0, 0, 0, 3]))
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    titles = [panel.title for panel in figure.axes if panel.get_title()]
    assert len(titles) == labels
    joined = " ".join(titles[0].get_text().split())
    assert joined.endswith("never predicted: fixed, tuned, per label")
    boxes = [title.get_window_extent(renderer) for title in titles]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_explanations_without_any_evidence() -> None:
    label = {"right": 0, "explained": 9, "carriers": ["visual"], "named": {}}
    numbers = {"labels": {"a": label, "b": label, "c": label}, "modalities": ["visual", "text"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(draw_scores.explanations, numbers)
    (panel,) = panels(figure)
    assert panel.get_ylim() == (2.5, -0.5)
    assert texts(figure).count("0 of 9") == 3
    assert not figure.legends


# ---------------------------------------------------------------------- scales


def test_shares_always_go_from_nothing_to_all() -> None:
    scale = scale_of_shares("share")
    assert (scale.norm.vmin, scale.norm.vmax) == (0, 1)


@pytest.mark.parametrize(
    ("largest", "reach"), [(0.0, 0.1), (0.03, 0.1), (0.1, 0.1), (0.11, 0.25), (0.6, 1), (1, 1)]
)
def test_differences_go_as_far_to_both_sides_of_zero(largest: float, reach: float) -> None:
    scale = scale_of_differences(np.array([[largest / 2, -largest, np.nan]]), "difference")
    assert (scale.norm.vmin, scale.norm.vmax) == (-reach, reach)
    assert scale.ticks == (-reach, 0, reach)


def test_attention_that_is_nearly_even_is_pale() -> None:
    """Attention from .166 to .168 was stretched over all colours."""
    heads = np.array([[0.166, 0.168], [0.167, 1 / 6]]) * 6
    scale = scale_of_attention(heads)
    assert (scale.norm.vmin, scale.norm.vmax) == (-1, 1)
    assert scale.names == ("1/2", "1", "2")
    assert scale.extend == "neither"
    shades = scale.norm(doublings(heads))
    assert np.abs(shades - 0.5).max() < 0.01


@pytest.mark.parametrize(
    ("multiples", "reach", "extend"),
    [([0.5, 2], 1, "neither"), ([1, 2.1], 2, "neither"), ([0.13, 1], 3, "neither"),
     ([1, 9], 3, "max"), ([0, 1], 3, "min"), ([0, 99], 3, "both"), ([np.nan, 1], 1, "neither")],
)  # fmt: skip
def test_what_is_beyond_the_scale_is_said(multiples: list[float], reach: int, extend: str) -> None:
    scale = scale_of_attention(np.array(multiples))
    assert (scale.norm.vmax, scale.extend) == (reach, extend)


# ---------------------------------------------------------------------- losses


def losses(**more: Any) -> dict[str, Any]:
    return {
        "epochs": [1, 2, 3],
        "train": {"total": [2.0, 1.8, 1.7], "adversarial_common": [3.30, 3.35, 3.38],
                  "adversarial_private": [3.3, 2.2, 0.8]},
        "valid": {"loss": [0.7, 0.6, 0.65], "micro_f1": [0.4, 0.5, 0.45]},
        "weights": {"adversarial_common": 0.01, "adversarial_private": 0.01},
        "chance": {"adversarial_common": 3.296, "adversarial_private": 3.296},
        "best_epoch": 2,
        **more,
    }  # fmt: skip


def test_losses_start_at_zero_and_those_of_one_unit_share_their_axis() -> None:
    objective, common, private, loss, f1 = panels(drawn(draw_inside.losses, losses()))
    for panel in (objective, common, private, loss, f1):
        assert panel.get_ylim()[0] == 0
    assert common.get_ylim() == private.get_ylim()
    assert common.get_ylim()[1] > 3.38
    assert f1.get_ylim() == (0, 1)


def test_a_loss_below_zero_is_seen() -> None:
    numbers = losses(train={"total": [1.0, -0.5, -1.0]}, chance={})
    objective, *_ = panels(drawn(draw_inside.losses, numbers))
    assert objective.get_ylim()[0] < -1


def test_one_epoch() -> None:
    numbers = losses(
        epochs=[1], best_epoch=1, chance={},
        train={"total": [2.0]}, valid={"loss": [0.7], "micro_f1": [0.4]},
    )  # fmt: skip
    figure = drawn(draw_inside.losses, numbers)
    assert len(panels(figure)) == 3
    assert "2.00" in texts(figure)


# ---------------------------------------------------------------------- attention


def attention(density: dict[str, Any], *, shares: bool = True) -> dict[str, Any]:
    blocks = ["visual", "text"]
    return {
        "labels": ["happy", "sad"],
        "blocks": blocks,
        "shares": {"visual": [0.4, 0.5], "text": [0.6, 0.5], "padding": [0, 0]} if shares else None,
        "even": {"visual": 0.5, "text": 0.5},
        "density": density,
    }


def test_attention_of_one_step_has_no_panel_over_time() -> None:
    figure = drawn(draw_inside.attention, attention({}))
    assert len(panels(figure)) == 1
    over_time = {"text": [[0.5, 1.5], [1.0, 1.0]]}
    figure = drawn(draw_inside.attention, attention(over_time))
    assert len(panels(figure)) == 2
    figure = drawn(draw_inside.attention, attention(over_time, shares=False))
    assert len(panels(figure)) == 1


# ---------------------------------------------------------------------- many labels


def many(count: int) -> list[str]:
    return [f"a long name {i}" for i in range(count)]


@pytest.mark.parametrize("count", [6, 17])
def test_names_do_not_overlap(count: int) -> None:
    names = many(count)
    rng = np.random.default_rng(0)
    shares = rng.random((count + 1, count))
    pairs = {
        "labels": names, "rows": dict.fromkeys(names, 1234), "unlabelled": 5,
        "predicted": shares.tolist(), "true": shares[::-1].tolist(),
    }  # fmt: skip
    heads = rng.dirichlet(np.ones(count), (3, count))
    for draw, numbers in (
        (draw_scores.co_occurrence, pairs),
        (draw_inside.label_correlation, {"labels": names, "heads": heads.tolist()}),
    ):
        figure = drawn(draw, numbers)
        assert overlapping(figure) == []
        assert figure.get_figwidth() <= drawing.WIDTH
        assert figure.get_figheight() <= 11


def test_what_is_left_out_is_said_in_the_figure() -> None:
    numbers = {**losses(), "left_out": ["orthogonality: zero in every epoch"]}
    said = " ".join(texts(drawn(draw_inside.losses, numbers)))
    assert "Not drawn: orthogonality: zero in every epoch" in said
    assert "What is seen." in said


# ---------------------------------------------------------------------- reliability and the plant


def test_reliability_has_both_axes_from_nothing_to_all() -> None:
    bins = [
        {"low": 0.0, "high": 0.1, "count": 90, "mean_probability": 0.04, "share_true": 0.02},
        {"low": 0.9, "high": 1.0, "count": 7, "mean_probability": 0.95, "share_true": 0.85},
    ]
    figure = drawn(draw_scores.reliability, {"curves": {"as stored": bins}})
    curve, counts = panels(figure)
    assert curve.get_xlim() == curve.get_ylim() == (0, 1)
    assert [bar.get_height() for bar in counts.patches] == [90, 7]
    (line,) = [one for one in curve.lines if len(one.get_xdata()) == 2 and one.get_marker() == "o"]
    np.testing.assert_allclose(line.get_ydata(), [0.02, 0.85])


def test_explanations_are_counted_for_each_label() -> None:
    labels = {
        "happy": {"carriers": ["visual", "text"], "named": {"visual": 5, "audio": 2}, "right": 5,
                  "explained": 8},
        "fear": {"carriers": ["text"], "named": {"text": 3}, "right": 3, "explained": 3},
    }  # fmt: skip
    numbers = {"modalities": ["visual", "audio", "text"], "labels": labels}
    figure = drawn(draw_scores.explanations, numbers)
    found = texts(figure)
    assert {"5 of 8", "3 of 3", "happy (v, t)", "fear (t)", "audio, wrong"} <= set(found)
    (panel,) = panels(figure)
    assert panel.get_xlim()[0] == 0
    assert sum(bar.get_width() for bar in panel.patches) == 10
