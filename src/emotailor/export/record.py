"""Recording a trained model as an ONNX graph that takes features as they are in the data.

The graph holds what is around the model, too: standardisation before it, and behind it the sigmoid
and the scaling of probabilities. Its inputs are, for each modality m of the model, ``m`` (batch,
steps, dim) and ``m_mask`` (batch, steps), first all values and then all masks; the outputs
``logits`` and ``probabilities`` (batch, labels) and, where the model has them, ``attention.BLOCK``
(batch, labels, steps). Batch and lengths are symbols; the modalities of aligned models share one
length.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.encoders.packages import need
from emotailor.errors import ModelError
from emotailor.export.translations import translations
from emotailor.models.adapters.model import TextAdapted
from emotailor.nn.exporting import OPSET
from emotailor.training.model_folder import LoadedModel

INSTALL = "pip install 'emotailor[export]'"
FOR_WHAT = "exporting a model"
ATTENTION = "attention."
_BATCH = 3
_STEPS = 5
"""Sizes of the batch that is recorded: not 1, which torch takes for a constant."""


class Recorded(nn.Module):
    """A model with all that is around it: features as they are in, probabilities out.

    Args:
        loaded: the model.
        attention: the blocks whose attention is put out.

    Attributes:
        modalities: those of the inputs, in their order.
    """

    def __init__(self, loaded: LoadedModel, attention: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = loaded.model
        self.modalities: tuple[Modality, ...] = tuple(loaded.model.dims)
        self.attention = tuple(attention)

        self.limit = torch.inf
        self.standardized = loaded.standardizer is not None
        if loaded.standardizer is not None:
            self.limit = loaded.standardizer.limit
            for m in self.modalities:
                mean = torch.from_numpy(loaded.standardizer.mean[m])
                scale = torch.from_numpy(loaded.standardizer.scales[m])
                self.register_buffer(f"mean_{m}", mean)
                self.register_buffer(f"scale_{m}", scale)

        scaled = loaded.card.scaled
        self.scaled = scaled is not None
        if scaled is not None:
            names = loaded.card.label_names
            slopes = torch.from_numpy(scaled.scaling.slope_array(names))
            intercepts = torch.tensor(
                [scaled.scaling.intercepts[name] for name in names], dtype=torch.float64
            )
            self.register_buffer("slopes", slopes)
            self.register_buffer("intercepts", intercepts)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Return logits, probabilities and attention of values and masks, in their order."""
        count = len(self.modalities)
        values: dict[Modality, Tensor] = {}
        masks: dict[Modality, Tensor] = {}
        for m, x, mask in zip(self.modalities, arrays[:count], arrays[count:], strict=True):
            values[m] = self._standardise(m, x).masked_fill(~mask[..., None], 0.0)
            masks[m] = mask

        output = self.model(Batch(values, masks, None, ()), features=bool(self.attention))
        logits = output.logits.float()
        found = [logits, self._scale(logits.sigmoid())]
        for block in self.attention:
            heads = output.features[ATTENTION + block]  # (B, heads, L, T)
            found.append(heads.mean(1))
        return tuple(found)

    def _standardise(
        self, m: Modality, x: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps dim"]:
        """As ``Standardizer`` does it."""
        if not self.standardized:
            return x
        shifted = x - self.get_buffer(f"mean_{m}")
        return (shifted * self.get_buffer(f"scale_{m}")).clamp(-self.limit, self.limit)

    def _scale(self, p: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """As ``Scaling.apply`` does it, in double precision."""
        if not self.scaled:
            return p
        precise = p.double()
        odds = precise.log() - torch.log(1 - precise)
        scaled = self.get_buffer("slopes") * odds + self.get_buffer("intercepts")
        return scaled.sigmoid().float()


def input_names(modalities: Sequence[Modality]) -> list[str]:
    """Return the names of the inputs, in their order."""
    return [*modalities, *(f"{m}_mask" for m in modalities)]


def attention_blocks(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the blocks that a model has attention to, in its order."""
    values, masks = _example(loaded)
    batch = Batch(values, masks, None, ["a"] * _BATCH)
    with torch.inference_mode():
        features = loaded.model(batch, features=True).features
    return tuple(n.removeprefix(ATTENTION) for n in features if n.startswith(ATTENTION))


def check_recordable(loaded: LoadedModel) -> None:
    """Refuse a model that takes more than features, or whose sizes depend on what masks hold.

    Raises:
        ModelError: it reads words, or aligns what it is given.
    """
    if isinstance(loaded.model, TextAdapted):
        raise ModelError(
            "the model reads words by a text encoder that was trained along (adapters)",
            expected="a model of features alone: a graph has no words",
            fix="train one with --set adapters.rank=0",
        )
    if loaded.card.alignment.kind != "none":
        raise ModelError(
            "the model aligns sequences to as many steps as the longest target of a batch has",
            expected="a model whose sizes are those of its inputs: a graph knows no others",
            fix="train one with --set alignment.kind=none",
        )


def record(loaded: LoadedModel, attention: Sequence[str]) -> bytes:
    """Return the ONNX graph of a model, without metadata.

    Args:
        loaded: a model in evaluation mode, on a CPU.
        attention: the blocks whose attention is put out.

    Raises:
        ModelError: the model does something that no graph can hold.
        ConfigError: a package is not installed.
    """
    need("onnx", FOR_WHAT, INSTALL)
    need("onnxscript", FOR_WHAT, INSTALL)

    recorded = Recorded(loaded, attention).eval()
    values, masks = _example(loaded)
    arrays = (*values.values(), *masks.values())
    sizes = _sizes(loaded)
    outputs = ["logits", "probabilities", *(ATTENTION + block for block in attention)]
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                recorded, arrays, dynamic_shapes=((*sizes, *sizes),), strict=False
            )
            found: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=input_names(recorded.modalities),
                output_names=outputs,
                opset_version=OPSET,
                custom_translation_table=translations(),
            )
            return _serialised(found, loaded)
    except Exception as error:
        # whatever torch finds, and code of others does, while it records
        system = loaded.card.system
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{system} cannot be recorded as a graph: {reason[0]}",
            expected="operations that torch.export can record for every batch and length",
            fix="docs/export.md tells what stands in the way of a model of your own",
        ) from error


def _example(loaded: LoadedModel) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    """Return values and masks of a batch to record."""
    values: dict[Modality, Tensor] = {}
    masks: dict[Modality, Tensor] = {}
    for k, (m, dim) in enumerate(loaded.model.dims.items()):
        steps = _STEPS if loaded.card.aligned else _STEPS + k
        values[m] = torch.zeros(_BATCH, steps, dim)
        masks[m] = torch.ones(_BATCH, steps, dtype=torch.bool)
    return values, masks


def _sizes(loaded: LoadedModel) -> list[dict[int, Any]]:
    """Return for each modality which of its axes are symbols."""
    batch = torch.export.Dim("batch", min=1)
    common = torch.export.Dim("steps", min=1)
    sizes = []
    for m in loaded.model.dims:
        steps = common if loaded.card.aligned else torch.export.Dim(f"{m}_steps", min=1)
        sizes.append({0: batch, 1: steps})
    return sizes


def _serialised(program: Any, loaded: LoadedModel) -> bytes:
    """Return a graph as bytes, without where in our code its parts come from."""
    model = program.model
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()
    _name_axes(model.graph, loaded)
    model.producer_name = "emotailor"
    content: bytes = program.model_proto.SerializeToString()
    return content


def _name_axes(graph: Any, loaded: LoadedModel) -> None:
    """Call the axes of inputs and outputs what they are; torch numbers them."""
    names: dict[str, str] = {}
    for m, value in zip(loaded.model.dims, graph.inputs, strict=False):
        steps = "steps" if loaded.card.aligned else f"{m}_steps"
        names[str(value.shape[0])] = "batch"
        names[str(value.shape[1])] = steps
    for value in (*graph.inputs, *graph.outputs):
        for axis, size in enumerate(value.shape):
            if str(size) in names and not isinstance(size, int):
                value.shape[axis] = names[str(size)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from telling what it does not need, and shapes from being checked."""
    checked = not jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # sizes are symbols
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", not checked)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
