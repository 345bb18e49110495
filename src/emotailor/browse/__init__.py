"""Trained models on a data set, sample by sample, in a browser on this machine."""
