"""Reading the authors' TAILOR parameters: their names, their shapes, our model.

The mapping is written once and used in both directions: importing a checkpoint, and laying our
gradients and updated parameters beside the recorded ones.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse tensors that cannot be stacked, or have too few rows.

        Raises:
            ModelError: naming the first of them.
        """
        first = tensors[self.theirs[0]].shape
        rows = 0
        for name in self.theirs:
            shape = tensors[name].shape
            if not shape or shape[1:] != first[1:]:
                raise _unexpected(name, tensors)
            rows += shape[0]

        if self.rows is not None and rows <= max(self.rows):
            raise _unexpected(self.theirs[0], tensors)

    def to_ours(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Build our tensor from theirs."""
        stacked = torch.cat([tensors[name] for name in self.theirs])
        if self.rows is not None:
            stacked = stacked[list(self.rows)]
        return stacked.clone()

    def to_theirs(self, tensor: Tensor, rows: Mapping[str, int]) -> dict[str, Tensor]:
        """Lay our tensor (a parameter or gradient) out as theirs; unused rows are zero.

        Args:
            tensor: our tensor.
            rows: their name -> number of rows of their tensor.
        """
        sizes = [rows[name] for name in self.theirs]
        total = sum(sizes)
        stacked = tensor.detach()
        if self.rows is not None:
            # a row that ours has not is zero
            stacked = tensor.new_zeros((total, *tensor.shape[1:]))
            stacked[list(self.rows)] = tensor

        parts = torch.split(stacked, sizes)
        return dict(zip(self.theirs, parts, strict=True))


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
    found: list[Entry] = []
    for i in range(layers):
        our_layer = f"{ours}.layers.{i}"
        their_layer = f"{theirs}.encoder.layer.{i}"
        found += _attention(
            f"{our_layer}.attention",
            f"{their_layer}.attention.self",
            f"{their_layer}.attention.output",
        )
        found += _feedforward(f"{our_layer}.feedforward", their_layer)
    return found


def entries(config: TailorConfig) -> list[Entry]:
    """Every parameter of our model under the preset ``authors()``, in terms of theirs."""
    layers: dict[Modality, int] = {
        "visual": config.visual_layers,
        "audio": config.audio_layers,
        "text": config.text_layers,
    }

    found: list[Entry] = []
    for m, name in _ENCODERS.items():
        found += _encoder(m, name, layers[m], config.max_steps)

    slots = 4 * config.max_steps  # of C and of three modalities
    for i, name in enumerate(_FUSIONS):
        found += _fusion(i, name, config.cross_layers, slots)

    found += _refinement()
    found += _decoder(config.decoder_layers)
    found += _pairs("classifier", "cross_classifier.dense")
    return found


def _encoder(modality: Modality, theirs: str, layers: int, steps: int) -> list[Entry]:
    """The encoder of a modality and the normalisation before it."""
    ours = f"encoders.{modality}"
    positions = f"{theirs}.embeddings.position_embeddings.weight"
    return [
        *_pairs(f"input_norms.{modality}", f"{modality}_norm.{modality}_norm2d"),
        *_pairs(f"{ours}.projection", f"{theirs}.embeddings.word_embeddings"),
        Entry(f"{ours}.embedding.position.weight", (positions,), range(steps)),
        *_pairs(f"{ours}.embedding.norm", f"{theirs}.embeddings.LayerNorm"),
        *_encoder_layers(ours, theirs, layers),
    ]


def _fusion(index: int, theirs: str, layers: int, slots: int) -> list[Entry]:
    """One of the cross-modal encoders."""
    ours = f"fusion.{index}"
    positions = f"{theirs}.embeddings.position_embeddings.weight"
    tokens = f"{theirs}.embeddings.token_type_embeddings.weight"
    return [
        Entry(f"{ours}.embedding.position.weight", (positions,), range(slots)),
        Entry(f"{ours}.embedding.token.weight", (tokens,)),
        *_pairs(f"{ours}.embedding.norm", f"{theirs}.embeddings.LayerNorm"),
        *_encoder_layers(ours, theirs, layers),
    ]


def _refinement() -> list[Entry]:
    """Generator, private extractors, discriminator, classifier of the common parts."""
    found = _pairs("generator.0", "common_feature_extractor.0")
    for k, m in enumerate(MODALITY_CLASSES):
        found += _pairs(f"extractors.{m}.0", f"private_feature_extractor.{k}.0")

    found += _pairs("discriminator.0", "modal_discriminator.0")
    classes = [MODALITY_CLASSES.index(m) for m in _ENCODERS]  # theirs for our v, a, t
    for kind in ("weight", "bias"):
        name = f"modal_discriminator.3.{kind}"
        found.append(Entry(f"discriminator.3.{kind}", (name,), classes))

    found += _pairs("common_classifier", "common_classfier.0")  # sic
    return found


def _decoder(layers: int) -> list[Entry]:
    """Label embedding and label-guided decoder."""
    theirs = "decoder.embeddings"
    found = [Entry("decoder.embedding.weight", (f"{theirs}.word_embeddings.weight",))]
    found += _pairs("decoder.norm", f"{theirs}.LayerNorm")

    attentions = {"self_attention": "slf_attn", "memory_attention": "enc_attn"}
    for i in range(layers):
        our_layer = f"decoder.layers.{i}"
        their_layer = f"decoder.decoder.layer.{i}"
        for ours, name in attentions.items():
            attention = f"{their_layer}.{name}"
            found += _attention(
                f"{our_layer}.{ours}",
                f"{attention}.att",
                f"{attention}.output",
            )

        found += _feedforward(f"{our_layer}.feedforward", their_layer)
    return found


def _count(names: Iterable[str], prefix: str) -> int:
    """Return how many layers the parameters below a prefix have."""
    pattern = re.compile(re.escape(prefix) + r"\.layer\.(\d+)\.")
    matches = [pattern.match(name) for name in names]
    return len({match[1] for match in matches if match})


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

    position_name = "bert.embeddings.position_embeddings.weight"
    inner_name = "bert.encoder.layer.0.intermediate.dense.weight"
    for name in (position_name, inner_name):
        if name not in tensors:
            raise ModelError(
                f"no parameter {name!r} among the {len(tensors)} in this file",
                expected="the state dict of the authors' TAILOR program (pytorch_model_*.bin)",
            )

    for name in (position_name, inner_name):
        if tensors[name].ndim != 2:
            raise _unexpected(name, tensors)

    positions, inner = tensors[position_name], tensors[inner_name]
    layers = {f"{m}_layers": _count(tensors, f"{name}.encoder") for m, name in _ENCODERS.items()}
    return TailorConfig.authors().replace(
        hidden_size=positions.shape[1],
        feedforward_size=inner.shape[0],
        heads=heads,
        **layers,
        cross_layers=_count(tensors, "va_cross.encoder"),
        decoder_layers=_count(tensors, "decoder.decoder"),
        max_steps=positions.shape[0],
    )


def dims_of(tensors: Mapping[str, Tensor]) -> dict[Modality, int]:
    """Read the feature widths off the authors' parameters.

    Raises:
        ModelError: a projection is no matrix.
    """
    dims = {}
    for m, encoder in _ENCODERS.items():
        name = f"{encoder}.embeddings.word_embeddings.weight"
        if tensors[name].ndim != 2:
            raise _unexpected(name, tensors)
        dims[m] = tensors[name].shape[1]
    return dims


def convert_state(tensors: Mapping[str, Tensor], config: TailorConfig) -> dict[str, Tensor]:
    """Turn the authors' parameters into a state dict of our model.

    Raises:
        ModelError: parameters are missing, unknown or of the wrong shape.
    """
    mapping = entries(config)
    wanted = {name for entry in mapping for name in entry.theirs}
    missing = sorted(wanted - set(tensors))
    unknown = sorted(set(tensors) - wanted)
    unknown = [name for name in unknown if not _UNUSED.search(name)]

    problems = []
    if missing:
        problems.append(_listed("missing", missing))
    if unknown:
        problems.append(_listed("unknown", unknown))
    if problems:
        raise ModelError(
            "not the authors' TAILOR parameters: " + " and ".join(problems),
            expected=f"the {len(wanted)} parameters of their aligned model",
        )

    for entry in mapping:
        entry.check(tensors)
    return {entry.ours: entry.to_ours(tensors) for entry in mapping}


def _unexpected(name: str, tensors: Mapping[str, Tensor]) -> ModelError:
    shape = tuple(tensors[name].shape)
    return ModelError(
        f"parameters of unexpected shapes: {name} {shape}",
        expected="the parameters of the authors' TAILOR, aligned setting",
    )


def _listed(kind: str, names: Sequence[str]) -> str:
    """Count parameters and name the first three."""
    shown = ", ".join(names[:3])
    if len(names) > 3:
        shown += ", …"
    return f"{len(names)} {kind} parameters ({shown})"
