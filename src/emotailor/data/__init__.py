"""Data sets: the contract, the store, the readers, batches and synthetic data."""
