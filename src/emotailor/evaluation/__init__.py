"""Evaluation: metrics, decision thresholds, confidence intervals and how they are printed."""
