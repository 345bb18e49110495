"""The claims: correlations by hand, and verdicts that hold or do not."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.sample import EMOTIONS
from emotailor.data.store import open_dataset
from emotailor.data.synthetic import SyntheticConfig, mosei_statistics, synthesize
from emotailor.figures.claims import (
    check_claims,
    empirical_together,
    phi_coefficients,
    planted_together,
    rank_correlation,
    ranks,
)
from emotailor.figures.representations import Drawn, Internals, Kind, Verdict


def test_phi_by_hand() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    together = empirical_together(labels)
    np.testing.assert_allclose(together[:2, :2], [[0.6, 0.4], [0.4, 0.6]])
    phi = phi_coefficients(together)
    assert phi[0, 1] == pytest.approx((0.4 - 0.36) / 0.24)
    np.testing.assert_allclose(phi[:2, :2], np.corrcoef(labels[:, :2].T))
    assert np.isnan(phi[2]).all()  # a label that is never true has no correlation


def test_ties_share_their_rank() -> None:
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 3.0, 9.0])), [2.5, 1, 2.5, 4])


def test_rank_correlation_by_hand() -> None:
    from scipy.stats import spearmanr

    x = np.array([[9.0, 1, 2, 3], [1, 9, 5, 4], [2, 5, 9, 6], [3, 4, 6, 9]])
    same = rank_correlation(x, np.exp(x))
    assert same is not None
    assert same["rho"] == pytest.approx(1)
    assert same["p"] == pytest.approx(1 / 24)  # of the orders of four labels, this one alone
    y = np.random.default_rng(0).normal(size=(4, 4))
    found = rank_correlation(x, y)
    assert found is not None
    off = ~np.eye(4, dtype=bool)
    assert found["rho"] == pytest.approx(spearmanr(x[off], y[off]).statistic)


def test_rank_correlation_with_many_labels_draws_permutations() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 9))
    related, unrelated = (rank_correlation(x, y) for y in (x, rng.normal(size=(9, 9))))
    assert related is not None
    assert unrelated is not None
    assert related["p"] < 0.01 < unrelated["p"]
    assert unrelated == rank_correlation(x, np.random.default_rng(1).normal(size=(2, 9, 9))[1])


def test_undefined_correlations() -> None:
    assert rank_correlation(np.eye(2), np.eye(2)) is None
    assert rank_correlation(np.ones((3, 3)), np.random.default_rng(0).normal(size=(3, 3))) is None
    x = np.random.default_rng(0).normal(size=(4, 4))
    x[2] = x[:, 2] = np.nan
    found = rank_correlation(x, x)
    assert found is not None
    assert found["labels"] == 3


def verdict(*mean: float) -> Verdict:
    values = np.array(mean)
    return Verdict(7, values, values * 0, np.stack([values] * 5), 0.5)


def internals(common: float, private: float, apart: float) -> Internals:
    rng = np.random.default_rng(0)
    order = ("visual", "audio", "text")
    kinds: dict[Kind, float] = {"common": common, "private": private}
    verdicts = {
        kind: {
            m: verdict(*(p if n == m else (1 - p) / 2 for n in order)) for m in order
        }
        for kind, p in kinds.items()
    }  # fmt: skip
    drawn = {
        kind: {
            m: Drawn((rng.normal(size=(90, 2)) + apart * k).astype(np.float32), np.arange(90))
            for k, m in enumerate(order)
        }
        for kind in kinds
    }
    statistics = phi_coefficients(mosei_statistics().cooccurrence)
    heads = np.exp(statistics)[None] / np.exp(statistics).sum(1)[None, :, None]
    return Internals(order, drawn, verdicts, heads)  # type: ignore[arg-type]


def holds(found: Internals, planted: np.ndarray | None = None) -> dict[str, bool | None]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (50, 6))
    claims = check_claims(
        found, EMOTIONS, rng.random((50, 6)), training_labels=labels, planted=planted
    )
    return {claim.name: claim.holds for claim in claims}


def test_claims_that_hold_and_that_do_not() -> None:
    planted = mosei_statistics().cooccurrence
    good = holds(internals(0.34, 0.9, 0.0), planted)
    assert good["discriminator_common"]
    assert good["discriminator_private"]
    assert good["probe_common"]
    assert good["label_correlation_planted"]  # rows of a softmax keep the order within a row
    assert not good["label_correlation_training"]  # labels drawn independently
    assert not good["prediction_correlation_planted"]
    bad = holds(internals(0.5, 0.5, 9.0))
    assert bad["discriminator_common"] is bad["discriminator_private"] is False
    assert bad["probe_common"] is False
    assert "label_correlation_planted" not in bad


def test_what_cannot_be_checked_says_why() -> None:
    claims = check_claims(
        Internals(("text",)), ("a",), np.zeros((3, 1)), training_labels=np.zeros((3, 1), int),
        planted=None,
    )  # fmt: skip
    assert len(claims) == 5
    assert all(claim.holds is None and claim.found for claim in claims)


def test_planted_correlations_are_matched_by_name(tmp_path: Path, data: Path) -> None:
    small = SyntheticConfig(train=5, valid=0, test=0, visual_dim=5, audio_dim=7, text_dim=11)
    dataset = synthesize(small, tmp_path / "planted")
    together = mosei_statistics().cooccurrence
    names = EMOTIONS[::-1]
    found = planted_together(dataset, names)
    assert found is not None
    np.testing.assert_array_equal(found, together[::-1, ::-1])
    assert planted_together(open_dataset(data), open_dataset(data).label_names) is None
