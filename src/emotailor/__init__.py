"""Multi-modal, multi-label emotion recognition with TAILOR (AAAI 2022)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# name -> where it lives; loaded at first use, so that `import emotailor` stays fast
_PUBLIC = {
    "EmotailorError": "emotailor.errors:EmotailorError",
    "EmotionDataset": "emotailor.data.dataset:EmotionDataset",
    "Predictor": "emotailor.serving.predictor:Predictor",
    "RunConfig": "emotailor.training.run_config:RunConfig",
    "Sample": "emotailor.data.sample:Sample",
    "available_models": "emotailor.models.table:available_models",
    "benchmark": "emotailor.comparison.benchmark:benchmark",
    "convert": "emotailor.data.convert:convert",
    "evaluate": "emotailor.runs.evaluate:evaluate_run",
    "load_dataset": "emotailor.data.store:open_dataset",
    "train": "emotailor.training.run:train",
    "write_dataset": "emotailor.data.store:write_dataset",
}

__all__ = sorted([*_PUBLIC, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'emotailor' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
