"""Metrics as others write them."""

import numpy as np


def wrong_share(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
    """Share of wrong (sample, label) pairs: the Hamming loss under another name."""
    return float((labels != decisions).mean())


def mean_probability(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
    return probabilities.mean()


class Scores:
    @staticmethod
    def surprise(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
        return 7


NOT_A_FUNCTION = 3.0
