"""Figures: the numbers behind them, and drawing them."""
