"""Trained models as ONNX files: recording them, checking them, and running them."""
