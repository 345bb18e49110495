"""Reading the authors' TAILOR parameters: their names, their shapes, our model.

The mapping is written once and used in both directions: importing a checkpoint, and laying our
gradients and updated parameters beside the recorded ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emotailor.data.sample import Modality
from emotailor.errors import ModelError
from emotailor.models.tailor.config import TailorConfig

LABELS = ("happy", "sad", "angry", "surprise", "disgust", "fear")
"""The order of the label ids 4 to 9 in the authors' data file."""

MODALITY_CLASSES: tuple[Modality, ...] = ("text", "visual", "audio")
"""The order of the discriminator's classes and of the private extractors."""

_ENCODERS: dict[Modality, str] = {"visual": "visual", "audio": "audio", "text": "bert"}
_FUSIONS = ("va_cross", "vat_cross", "pc_cross")
_UNUSED = re.compile(r"\.pooler\.dense\.(weight|bias)$")  # computed, never used, never trained


@dataclass(frozen=True)
class Entry:
    """One of our parameters and where it lies among theirs.

    Attributes:
        ours: our name.
        theirs: their names; their tensors are stacked along the first axis.
        rows: ``ours[i] = stacked[rows[i]]``; None for all rows in order.
    """

    ours: str
    theirs: tuple[str, ...]
    rows: Sequence[int] | None = None

    def to_ours(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Build our tensor from theirs."""
        stacked = torch.cat([tensors[name] for name in self.theirs])
        return (stacked if self.rows is None else stacked[list(self.rows)]).clone()

    def to_theirs(self, tensor: Tensor, rows: Mapping[str, int]) -> dict[str, Tensor]:
        """Lay our tensor (a parameter or gradient) out as theirs; unused rows are zero.

        Args:
            tensor: ours.
            rows: their name -> number of rows of their tensor.
        """
        sizes = [rows[name] for name in self.theirs]
        stacked = tensor.detach()
        if self.rows is not None:
            stacked = tensor.new_zeros((sum(sizes), *tensor.shape[1:]))
            stacked[list(self.rows)] = tensor
        return dict(zip(self.theirs, torch.split(stacked, sizes), strict=True))


def _pairs(ours: str, theirs: str) -> list[Entry]:
    return [Entry(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in ("weight", "bias")]


def _attention(ours: str, projections: str, output: str) -> list[Entry]:
    fused = [
        Entry(
            f"{ours}.attention.in_proj.{kind}",
            tuple(f"{projections}.{part}.{kind}" for part in ("query", "key", "value")),
        )
        for kind in ("weight", "bias")
    ]
    return [
        *fused,
        *_pairs(f"{ours}.attention.out_proj", f"{output}.dense"),
        *_pairs(f"{ours}.norm", f"{output}.LayerNorm"),
    ]


def _feedforward(ours: str, theirs: str) -> list[Entry]:
    return [
        *_pairs(f"{ours}.inner", f"{theirs}.intermediate.dense"),
        *_pairs(f"{ours}.outer", f"{theirs}.output.dense"),
        *_pairs(f"{ours}.norm", f"{theirs}.output.LayerNorm"),
    ]


def _encoder_layers(ours: str, theirs: str, layers: int) -> list[Entry]:
    entries = []
    for i in range(layers):
        a, b = f"{ours}.layers.{i}", f"{theirs}.encoder.layer.{i}"
        entries += _attention(f"{a}.attention", f"{b}.attention.self", f"{b}.attention.output")
        entries += _feedforward(f"{a}.feedforward", b)
    return entries


def entries(config: TailorConfig) -> list[Entry]:
    """Every parameter of the ``authors()`` face of our model, in terms of theirs."""
    steps = config.max_steps
    layers: dict[Modality, int] = {
        "visual": config.visual_layers,
        "audio": config.audio_layers,
        "text": config.text_layers,
    }
    found: list[Entry] = []
    for m, name in _ENCODERS.items():
        found += _pairs(f"input_norms.{m}", f"{m}_norm.{m}_norm2d")
        found += _pairs(f"encoders.{m}.projection", f"{name}.embeddings.word_embeddings")
        positions = f"{name}.embeddings.position_embeddings.weight"
        found.append(Entry(f"encoders.{m}.embedding.position.weight", (positions,), range(steps)))
        found += _pairs(f"encoders.{m}.embedding.norm", f"{name}.embeddings.LayerNorm")
        found += _encoder_layers(f"encoders.{m}", name, layers[m])
    for i, name in enumerate(_FUSIONS):
        a, b = f"fusion.{i}.embedding", f"{name}.embeddings"
        positions = f"{b}.position_embeddings.weight"
        found.append(Entry(f"{a}.position.weight", (positions,), range(4 * steps)))
        found.append(Entry(f"{a}.token.weight", (f"{b}.token_type_embeddings.weight",)))
        found += _pairs(f"{a}.norm", f"{b}.LayerNorm")
        found += _encoder_layers(f"fusion.{i}", name, config.cross_layers)
    found += _pairs("generator.0", "common_feature_extractor.0")
    for k, m in enumerate(MODALITY_CLASSES):
        found += _pairs(f"extractors.{m}.0", f"private_feature_extractor.{k}.0")
    found += _pairs("discriminator.0", "modal_discriminator.0")
    classes = [MODALITY_CLASSES.index(m) for m in _ENCODERS]  # theirs of our v, a, t
    for kind in ("weight", "bias"):
        name = f"modal_discriminator.3.{kind}"
        found.append(Entry(f"discriminator.3.{kind}", (name,), classes))
    found += _pairs("common_classifier", "common_classfier.0")  # sic
    found.append(Entry("decoder.embedding.weight", ("decoder.embeddings.word_embeddings.weight",)))
    found += _pairs("decoder.norm", "decoder.embeddings.LayerNorm")
    for i in range(config.decoder_layers):
        a, b = f"decoder.layers.{i}", f"decoder.decoder.layer.{i}"
        for ours, theirs in (("self_attention", "slf_attn"), ("memory_attention", "enc_attn")):
            found += _attention(f"{a}.{ours}", f"{b}.{theirs}.att", f"{b}.{theirs}.output")
        found += _feedforward(f"{a}.feedforward", b)
    found += _pairs("classifier", "cross_classifier.dense")
    return found


def _count(names: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"\.layer\.(\d+)\.")
    return len({match[1] for name in names if (match := pattern.match(name))})


def infer_config(tensors: Mapping[str, Tensor], *, heads: int = 8) -> TailorConfig:
    """Read depths and widths off the authors' parameters; heads leave no trace in them.

    Raises:
        ModelError: parameters are missing, so this is no TAILOR checkpoint.
    """
    if any("_ctc." in name for name in tensors):
        raise ModelError(
            "this is a checkpoint of the unaligned setting (it holds a CTC alignment module)",
            expected="a checkpoint of the aligned setting",
            fix="unaligned checkpoints are not supported yet",
        )
    try:
        positions = tensors["bert.embeddings.position_embeddings.weight"]
        inner = tensors["bert.encoder.layer.0.intermediate.dense.weight"]
        layers = {
            f"{m}_layers": _count(tensors, f"{name}.encoder") for m, name in _ENCODERS.items()
        }
        return TailorConfig.authors().replace(
            hidden_size=positions.shape[1],
            feedforward_size=inner.shape[0],
            heads=heads,
            **layers,
            cross_layers=_count(tensors, "va_cross.encoder"),
            decoder_layers=_count(tensors, "decoder.decoder"),
            max_steps=positions.shape[0],
        )
    except KeyError as error:
        raise ModelError(
            f"no parameter {error} among the {len(tensors)} in this file",
            expected="the state dict of the authors' TAILOR program (pytorch_model_*.bin)",
        ) from None


def dims_of(tensors: Mapping[str, Tensor]) -> dict[Modality, int]:
    """Read the feature widths off the authors' parameters."""
    return {
        m: tensors[f"{name}.embeddings.word_embeddings.weight"].shape[1]
        for m, name in _ENCODERS.items()
    }


def convert_state(tensors: Mapping[str, Tensor], config: TailorConfig) -> dict[str, Tensor]:
    """Turn the authors' parameters into a state dict of our model.

    Raises:
        ModelError: parameters are missing, unknown or of the wrong shape.
    """
    mapping = entries(config)
    wanted = {name for entry in mapping for name in entry.theirs}
    missing = sorted(wanted - set(tensors))
    unknown = sorted(n for n in set(tensors) - wanted if not _UNUSED.search(n))
    if missing or unknown:
        parts = [
            f"{len(names)} {kind} parameters ({', '.join(names[:3])}{', …' * (len(names) > 3)})"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ModelError(
            "not the authors' TAILOR parameters: " + " and ".join(parts),
            expected=f"the {len(wanted)} parameters of their aligned model",
        )
    try:
        return {entry.ours: entry.to_ours(tensors) for entry in mapping}
    except (IndexError, RuntimeError) as error:
        raise ModelError(f"parameters of unexpected shapes: {error}") from None
