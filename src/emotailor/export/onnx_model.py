"""A model that ONNX Runtime runs, in the place of one of torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.encoders.packages import need
from emotailor.errors import ConfigError, ModelError, TooLongError
from emotailor.export.onnx_file import FIX, OnnxContent, read_onnx
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.training.model_folder import LoadedModel

INSTALL = "pip install onnxruntime"
ATTENTION = "attention."


def start_session(content: bytes, threads: int | None = None) -> Any:
    """Return a session of ONNX Runtime that runs a graph.

    Args:
        content: the file.
        threads: to compute one batch with; by default as many as torch has.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    ort = need("onnxruntime", "running an ONNX file", INSTALL)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    # threads that wait for work must not take it from others
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def check_device(wanted: str) -> None:
    """Refuse another device than the CPU for an ONNX file.

    Raises:
        ConfigError: another one is asked for.
    """
    if wanted not in ("auto", "cpu"):
        raise ConfigError(
            f"device {wanted!r} for an ONNX file",
            expected="auto or cpu: ONNX Runtime computes on the CPU here",
            fix="leave --device out, or name the folder of the model",
        )


class OnnxModel(EmotionModel):
    """A graph of :mod:`emotailor.export.record`; it takes raw features, and standardises itself.

    Args:
        file: an ONNX file that was looked into.

    Raises:
        ModelError: ONNX Runtime cannot run it, or it has other inputs or outputs than it says.
        ConfigError: ONNX Runtime is not installed.
    """

    def __init__(self, file: OnnxContent) -> None:
        card = file.described.card
        dims = {m: card.dims[m] for m in MODALITIES if m in card.dims}
        super().__init__(dims, len(card.label_names))
        self.described = file.described
        self.takes_unaligned = file.described.takes_unaligned
        self.path = file.path
        try:
            self.session = start_session(file.content)
        except Exception as error:
            if type(error).__module__.startswith("emotailor"):
                raise
            raise ModelError(
                f"{file.path} cannot be run: {_first_line(error)}",
                expected="a graph that ONNX Runtime can run",
                fix=FIX,
            ) from error
        self._check_inputs()
        self._check_outputs()

    def _check_inputs(self) -> None:
        """Require the inputs of the card.

        Raises:
            ModelError: there are others.
        """
        found = {one.name: tuple(one.shape[2:]) for one in self.session.get_inputs()}
        wanted: dict[str, tuple[int, ...]] = {}
        for m, dim in self.dims.items():
            wanted[m] = (dim,)
            wanted[f"{m}_mask"] = ()
        if found != wanted:
            raise ModelError(
                f"{self.path} has the inputs {found}",
                expected=f"those of its card: {wanted}",
                fix=FIX,
            )

    def _check_outputs(self) -> None:
        """Require the outputs of the card.

        Raises:
            ModelError: there are others, or they are of other labels.
        """
        found = {one.name: one.shape[1:2] for one in self.session.get_outputs()}
        blocks = [ATTENTION + block for block in self.described.attention]
        names = ["logits", "probabilities", *blocks]
        wanted = {name: [self.num_labels] for name in names}
        if found != wanted:
            raise ModelError(
                f"{self.path} has the outputs {found}",
                expected=f"those of its card: {wanted}",
                fix=FIX,
            )

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits and, if asked, attention.

        Raises:
            ModelError: ONNX Runtime fails, as where there is not enough memory.
        """
        blocks = self.described.attention if features else ()
        names = ["logits", *(ATTENTION + block for block in blocks)]
        logits, *attention = self.run(names, batch.values, batch.masks)
        # the heads are one: their mean is what the graph puts out
        named = {ATTENTION + block: x[:, None] for block, x in zip(blocks, attention, strict=True)}
        return ModelOutput(logits, {}, named)

    def run(
        self,
        names: Sequence[str],
        values: Mapping[Modality, Tensor],
        masks: Mapping[Modality, Tensor],
    ) -> list[Tensor]:
        """Return outputs of the graph by name."""
        return [torch.from_numpy(x) for x in run_graph(self.session, names, values, masks)]

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require what the exported model required.

        Raises:
            ModelError: sequences are too long, or need aligning first.
        """
        super().check_lengths(longest, aligned=aligned)
        for m in sorted(longest, key=lambda m: -longest[m]):
            most = self.described.most_steps[m]
            if most is not None and longest[m] > most:
                raise TooLongError(
                    f"a {m} sequence of {longest[m]} steps",
                    most=most,
                    expected=f"at most {most}, as in the model that was exported",
                    fix="train and export one for longer sequences",
                )


def run_graph(
    session: Any,
    names: Sequence[str],
    values: Mapping[Modality, Tensor],
    masks: Mapping[Modality, Tensor],
) -> list[np.ndarray]:
    """Return outputs of a graph by name; what only other outputs need is not computed.

    Raises:
        ModelError: ONNX Runtime fails.
    """
    ort = need("onnxruntime", "running an ONNX file", INSTALL)
    given: dict[str, np.ndarray] = {}
    for m, x in values.items():
        given[m] = x.float().contiguous().numpy()
        given[f"{m}_mask"] = masks[m].contiguous().numpy()

    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True
    try:
        found: list[np.ndarray] = session.run(list(names), given, options)
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime fails: {_first_line(error)}",
            expected="enough memory, and a file as it was written",
            fix="take fewer or shorter samples, or export the model again",
        ) from error
    return found


def load_onnx(path: str | Path) -> LoadedModel:
    """Load a model from an ONNX file of ours; its folder and its weights are not needed.

    The features that the model is given are raw: its graph standardises them.

    Raises:
        ModelError: the file is missing, damaged, or not one that emotailor wrote.
        ConfigError: ONNX Runtime is not installed.
    """
    file = read_onnx(Path(path))
    model = OnnxModel(file).eval()
    return LoadedModel(file.described.card, model, None)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
