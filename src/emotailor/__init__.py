"""Multi-modal, multi-label emotion recognition with TAILOR (AAAI 2022).

Everything that the documentation uses is here. A name is looked up at its first use, so `import
emotailor` stays fast. Type checkers and editors see all names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "MODALITIES",
    "Batch",
    "Config",
    "ConfigError",
    "ConvertOptions",
    "DataConfig",
    "DataError",
    "EmotailorError",
    "EmotionDataset",
    "EmotionModel",
    "Encoded",
    "Explanation",
    "Exported",
    "Extracted",
    "ExtractionConfig",
    "Failure",
    "FittedModel",
    "InterruptedRunError",
    "Interval",
    "LabelStatistics",
    "Metrics",
    "Modality",
    "ModelError",
    "ModelOutput",
    "Prediction",
    "Predictions",
    "Predictor",
    "Reading",
    "Run",
    "RunConfig",
    "RunEvaluation",
    "Sample",
    "Split",
    "SyntheticConfig",
    "System",
    "TailorConfig",
    "TextEncoder",
    "Timeline",
    "TrainResult",
    "TrainingConfig",
    "Variant",
    "__version__",
    "ablate",
    "available_models",
    "benchmark",
    "calibrate",
    "classification_loss",
    "convert",
    "encode_texts",
    "evaluate",
    "export_onnx",
    "extract",
    "import_checkpoint",
    "load_dataset",
    "load_encoder",
    "make_figures",
    "predict",
    "predict_texts",
    "publish",
    "reproduce_paper",
    "synthesize",
    "train",
    "tune",
    "use_system",
    "write_dataset",
    "write_report",
]

if TYPE_CHECKING:
    from emotailor.comparison.ablate import ablate
    from emotailor.comparison.benchmark import benchmark
    from emotailor.comparison.tune import tune
    from emotailor.config import Config
    from emotailor.data.batching import Batch
    from emotailor.data.dataset import EmotionDataset, Split
    from emotailor.data.readers import ConvertOptions, Reading
    from emotailor.data.readers.convert import convert
    from emotailor.data.sample import EMOTIONS, MODALITIES, Modality, Sample
    from emotailor.data.store import open_dataset as load_dataset
    from emotailor.data.store import write_dataset
    from emotailor.data.synthetic import SyntheticConfig, synthesize
    from emotailor.encoders.base import Encoded, TextEncoder
    from emotailor.encoders.encode import encode_texts
    from emotailor.encoders.table import load_encoder
    from emotailor.errors import (
        ConfigError,
        DataError,
        EmotailorError,
        InterruptedRunError,
        ModelError,
    )
    from emotailor.evaluation.comparison import Interval
    from emotailor.evaluation.metrics import Metrics
    from emotailor.extraction.config import ExtractionConfig
    from emotailor.extraction.dataset import Extracted, extract
    from emotailor.figures.make import make_figures
    from emotailor.models.base import (
        EmotionModel,
        FittedModel,
        LabelStatistics,
        ModelOutput,
        classification_loss,
    )
    from emotailor.models.system import System, Variant
    from emotailor.models.table import available_models, use_system
    from emotailor.models.tailor.config import TailorConfig
    from emotailor.paper.reproduce import reproduce_paper
    from emotailor.report.write import write_report
    from emotailor.runs.calibrate import calibrate_run as calibrate
    from emotailor.runs.evaluate import RunEvaluation
    from emotailor.runs.evaluate import evaluate_run as evaluate
    from emotailor.runs.export import Exported, export_onnx
    from emotailor.runs.predict import predict
    from emotailor.runs.run import Run
    from emotailor.runs.texts import predict_texts
    from emotailor.serving.prediction import Explanation, Failure, Prediction, Predictions
    from emotailor.serving.predictor import Predictor
    from emotailor.serving.timeline import Timeline
    from emotailor.sharing.publish import publish
    from emotailor.training.config import TrainingConfig
    from emotailor.training.import_checkpoint import import_checkpoint
    from emotailor.training.run import train
    from emotailor.training.run_config import DataConfig, RunConfig
    from emotailor.training.run_folder import TrainResult

_HOMES = {
    "Batch": "emotailor.data.batching",
    "Config": "emotailor.config",
    "ConfigError": "emotailor.errors",
    "ConvertOptions": "emotailor.data.readers",
    "DataConfig": "emotailor.training.run_config",
    "DataError": "emotailor.errors",
    "EMOTIONS": "emotailor.data.sample",
    "EmotailorError": "emotailor.errors",
    "EmotionDataset": "emotailor.data.dataset",
    "EmotionModel": "emotailor.models.base",
    "Encoded": "emotailor.encoders.base",
    "Exported": "emotailor.runs.export",
    "Explanation": "emotailor.serving.prediction",
    "Extracted": "emotailor.extraction.dataset",
    "ExtractionConfig": "emotailor.extraction.config",
    "Failure": "emotailor.serving.prediction",
    "FittedModel": "emotailor.models.base",
    "InterruptedRunError": "emotailor.errors",
    "Interval": "emotailor.evaluation.comparison",
    "LabelStatistics": "emotailor.models.base",
    "MODALITIES": "emotailor.data.sample",
    "Metrics": "emotailor.evaluation.metrics",
    "Modality": "emotailor.data.sample",
    "ModelError": "emotailor.errors",
    "ModelOutput": "emotailor.models.base",
    "Prediction": "emotailor.serving.prediction",
    "Predictions": "emotailor.serving.prediction",
    "Predictor": "emotailor.serving.predictor",
    "Reading": "emotailor.data.readers",
    "Run": "emotailor.runs.run",
    "RunConfig": "emotailor.training.run_config",
    "RunEvaluation": "emotailor.runs.evaluate",
    "Sample": "emotailor.data.sample",
    "Split": "emotailor.data.dataset",
    "SyntheticConfig": "emotailor.data.synthetic",
    "System": "emotailor.models.system",
    "TailorConfig": "emotailor.models.tailor.config",
    "TextEncoder": "emotailor.encoders.base",
    "Timeline": "emotailor.serving.timeline",
    "TrainResult": "emotailor.training.run_folder",
    "TrainingConfig": "emotailor.training.config",
    "Variant": "emotailor.models.system",
    "ablate": "emotailor.comparison.ablate",
    "available_models": "emotailor.models.table",
    "benchmark": "emotailor.comparison.benchmark",
    "calibrate": "emotailor.runs.calibrate:calibrate_run",
    "classification_loss": "emotailor.models.base",
    "convert": "emotailor.data.readers.convert",
    "encode_texts": "emotailor.encoders.encode",
    "evaluate": "emotailor.runs.evaluate:evaluate_run",
    "export_onnx": "emotailor.runs.export",
    "extract": "emotailor.extraction.dataset",
    "import_checkpoint": "emotailor.training.import_checkpoint",
    "load_dataset": "emotailor.data.store:open_dataset",
    "load_encoder": "emotailor.encoders.table",
    "make_figures": "emotailor.figures.make",
    "predict": "emotailor.runs.predict",
    "predict_texts": "emotailor.runs.texts",
    "publish": "emotailor.sharing.publish",
    "reproduce_paper": "emotailor.paper.reproduce",
    "synthesize": "emotailor.data.synthetic",
    "train": "emotailor.training.run",
    "tune": "emotailor.comparison.tune",
    "use_system": "emotailor.models.table",
    "write_dataset": "emotailor.data.store",
    "write_report": "emotailor.report.write",
}
"""Name -> the module that has it, and its name there if that differs."""


if not TYPE_CHECKING:  # a checker that saw it would take any name for granted

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'emotailor' has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return __all__
