"""Settings of HHMPN (AAAI 2021)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config, check_multiple


class HHMPNConfig(Config):
    """HHMPN (AAAI 2021). The structure is the method described, the sizes are a laptop's.

    The program's sizes (:meth:`authors`) make 378 million parameters. Where they lie: a memory runs
    over the streams of a modality side by side, so at width (M - 1) d its matrices have four times
    as many entries as those of a cross-modal Transformer, and it is as deep: three memories
    hold 227 million, six cross-modal Transformers 113 million. Both depths and the width are
    smaller here; what is connected with what stays.

    Fields from ``label_to_label`` on are places where the authors' program departs from the method;
    in ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(128, ge=2)  # d, width of every representation; program: 512
    encoder_heads: int = Field(4, ge=1)  # attention heads of each cross-modal Transformer; program
    encoder_layers: int = Field(2, ge=1)  # layers of each cross-modal Transformer; program: 6
    memory_layers: int = Field(2, ge=1)  # layers of each memory; program: max(encoder_layers, 3)
    decoder_layers: int = Field(3, ge=1)  # rounds of messages to the labels; program
    decoder_heads: int = Field(8, ge=1)  # attention heads of all label attention; program
    feedforward_size: int = Field(128, ge=1)  # inner width of the labels' updates; program: 512
    score_size: int = Field(32, ge=1)  # inner width of the modality score; program
    # n_ij / sqrt(n_i n_j) from which two labels are neighbours; program
    graph_threshold: float = Field(0.2, ge=0, le=1)

    dropout: float = Field(0.2, ge=0, lt=1)  # dropout everywhere in the decoder; program
    # dropout of the encoder's embedded sequences; program
    embedding_dropout: float = Field(0.25, ge=0, lt=1)
    # dropout of attention with text as source, and in its memory; program
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    # the same with visual as source; program
    attention_dropout_visual: float = Field(0.0, ge=0, lt=1)
    # the same with audio as source; program
    attention_dropout_audio: float = Field(0.0, ge=0, lt=1)
    # dropout inside the encoder's feed-forward parts; program
    relu_dropout: float = Field(0.1, ge=0, lt=1)
    # dropout on what the encoder's parts add; program
    residual_dropout: float = Field(0.1, ge=0, lt=1)

    label_to_label: bool = True  # whether labels send messages to each other; program: no
    # axis over which modality weights sum to 1; program: labels
    modality_softmax: Literal["modalities", "labels"] = "modalities"
    # whether label embeddings, times d^-0.5, are the output vectors; program: no
    share_embedding: bool = True
    # whether text labels read the visual stream, and visual labels the text stream; program: yes
    crossed: bool = False
    future_mask: bool = False  # whether the encoder is causal; program: yes
    attend_to_padding: bool = False  # whether the encoder has no key masks; program: yes

    @model_validator(mode="after")
    def _check(self) -> "HHMPNConfig":
        check_multiple(self, "hidden_size", "encoder_heads", "decoder_heads")
        return self

    @classmethod
    def tuned(cls) -> "HHMPNConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(
            hidden_size=64,
            feedforward_size=64,
            encoder_layers=1,
            memory_layers=1,
            decoder_layers=2,
            decoder_heads=4,
        )

    @classmethod
    def paper(cls) -> "HHMPNConfig":
        """The method as it is described, at a size that a laptop trains."""
        return cls()

    @classmethod
    def authors(cls) -> "HHMPNConfig":
        """The model as the authors' program computes it, at its sizes."""
        return cls(
            hidden_size=512,
            encoder_layers=6,
            memory_layers=6,
            feedforward_size=512,
            label_to_label=False,
            modality_softmax="labels",
            share_embedding=False,
            crossed=True,
            future_mask=True,
            attend_to_padding=True,
        )


_RECIPE = {
    "epochs": 50,
    "batch_size": 8,
    "accumulate": 8,
    "learning_rate": 1e-5,
    "clip_norm": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "patience": 5,
    "threshold": 0.5,
}
RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "tuned": {"learning_rate": 3e-3},
    "paper": _RECIPE,
    "authors": _RECIPE,
}
"""The shipped command; patience is ours. Its second moment decays by 0.98, here by 0.999."""
