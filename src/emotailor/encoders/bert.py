"""The encoder of BERT (Devlin et al., NAACL 2019), as far as word vectors need it.

Of 0.1 s to load, where the ``transformers`` package takes 5 processor seconds and 141 MB on disk:
that is what a prediction of one sentence waits for. Differences to ``transformers`` are below 1e-5
(``tests/encoders/test_bert.py``). The layers are PyTorch's own; here is what is around them.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.shapes import shapes_alone


class BertConfig(BaseModel):
    """The settings in a ``config.json`` that decide what BERT computes; others are not read.

    Attributes:
        model_type: ``bert``.
        hidden_size: width of a vector.
        num_hidden_layers: number of layers.
        num_attention_heads: heads of attention in each.
        intermediate_size: width inside a layer.
        max_position_embeddings: most pieces that fit.
        vocab_size: number of pieces.
        type_vocab_size: kinds of segments; a text is of the first kind.
        layer_norm_eps: added to a variance before its root is taken.
        hidden_act: the activation; exact GELU.
        position_embedding_type: how pieces know their places.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_type: str = Field(pattern="^bert$")
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(512, ge=3)
    vocab_size: int = Field(ge=1)
    type_vocab_size: int = Field(2, ge=1)
    layer_norm_eps: float = Field(1e-12, gt=0)
    hidden_act: str = Field("gelu", pattern="^gelu$")
    position_embedding_type: str = Field("absolute", pattern="^absolute$")

    @model_validator(mode="after")
    def _check(self) -> "BertConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("num_attention_heads must divide hidden_size")
        return self


class Bert(nn.Module):
    """Embeddings of pieces, places and the one segment; then layers.

    Args:
        config: sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.pieces = nn.Embedding(config.vocab_size, width)
        self.places = nn.Embedding(config.max_position_embeddings, width)
        self.segments = nn.Embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)

        layers = []
        for _ in range(config.num_hidden_layers):
            layer = nn.TransformerEncoderLayer(
                width,
                config.num_attention_heads,
                config.intermediate_size,
                dropout=0.0,
                activation="gelu",
                layer_norm_eps=config.layer_norm_eps,
                batch_first=True,
            )
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    def forward(
        self,
        pieces: Int64[Tensor, "texts steps"],
        real: Bool[Tensor, "texts steps"],
        count: int | None = None,
        place: Int64[Tensor, "texts steps"] | None = None,
    ) -> Float[Tensor, "texts steps width"]:
        """Return the output of a layer.

        Args:
            pieces: numbers of pieces, with those that begin and end a text.
            real: False at padding, whose output means nothing.
            count: how many of the layers are computed, the first ones; by default all, and with 0
                what the first of them is given.
            place: where each piece stands in its text; by default one after the other from 0.
        """
        steps = pieces.shape[1]
        places = self.places.weight[:steps] if place is None else self.places(place)
        x = self.pieces(pieces) + places + self.segments.weight[0]
        x = self.norm(x)

        # without padding a layer has less to do
        padding = None if real.all() else ~real
        for layer in self.layers[:count]:
            x = layer(x, src_key_padding_mask=padding)
        return x


_EMBEDDINGS = {
    "pieces.weight": "embeddings.word_embeddings.weight",
    "places.weight": "embeddings.position_embeddings.weight",
    "segments.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
"""Parameter -> its name in a published file."""

_LAYER = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
"""Part of a layer -> its name in a published file."""


def parse_config(values: object, where: Path) -> BertConfig:
    """Return the settings of a BERT.

    Raises:
        ModelError: they are of another kind of model, or damaged.
    """
    try:
        return BertConfig.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{where}: {first_problem(error)}", expected="the config.json of a BERT"
        ) from error


def build_bert(config: BertConfig, stored: Mapping[str, Tensor], where: Path) -> Bert:
    """Return a BERT with stored parameters, ready for use.

    Args:
        config: its settings.
        stored: the tensors of the published file by their names, with ``bert.`` before them where
            they are part of a larger model.
        where: that file, for messages.

    Raises:
        ModelError: a tensor is missing or has another shape than the settings say.
    """
    parameters = _renamed(config, stored, where)
    with shapes_alone():
        model = Bert(config)

    for name, wanted in model.state_dict().items():
        found = tuple(parameters[name].shape)
        if found != tuple(wanted.shape):
            raise ModelError(
                f"{where} does not fit its config.json: {name} has the shape {found}",
                expected=f"{tuple(wanted.shape)}",
                fix="copy the model folder again",
            )

    model.load_state_dict(parameters, assign=True)
    return model.float().eval().requires_grad_(False)


def _renamed(config: BertConfig, stored: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Return the tensors of a published file under our names."""
    plain = {name.removeprefix("bert."): tensor for name, tensor in stored.items()}

    def taken(name: str) -> Tensor:
        if name not in plain:
            raise ModelError(
                f"{where} has no tensor {name}",
                expected="the parameters of a BERT",
                fix="copy the model folder again, or name another one",
            )
        return plain[name]

    found = {ours: taken(theirs) for ours, theirs in _EMBEDDINGS.items()}
    for number in range(config.num_hidden_layers):
        theirs = f"encoder.layer.{number}"
        for kind in ("weight", "bias"):
            # PyTorch keeps the three projections of attention in one
            parts = ("query", "key", "value")
            three = [taken(f"{theirs}.attention.self.{part}.{kind}") for part in parts]
            found[f"layers.{number}.self_attn.in_proj_{kind}"] = torch.cat(three)
            for our_part, their_part in _LAYER.items():
                found[f"layers.{number}.{our_part}.{kind}"] = taken(f"{theirs}.{their_part}.{kind}")
    return found
