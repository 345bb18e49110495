"""Settings of TAILOR, and the two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from emotailor.config import Config
from emotailor.data.sample import Modality

Block = Literal["visual", "audio", "text", "common"]
RefinementLoss = Literal["adversarial", "orthogonality", "common_semantics"]
LabelDecoding = Literal["full", "correlation", "embedding", "identical"]


class TailorConfig(Config):
    """TAILOR (AAAI 2022). Defaults are the paper's; see :meth:`authors` for the program's.

    Fields from ``refinement`` to ``modality_tokens`` take parts of the model away, as the rows of
    Table 3 do (``ablations.py``). Fields from ``classifier`` on are the places where the authors'
    program departs from the paper; ``model.py`` marks each with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(256, ge=1)  # d, width of every representation
    feedforward_size: int = Field(256, ge=1)  # inner width of feed-forward parts; the program's d
    heads: int = Field(8, ge=1)  # h_l = h_m and those of all encoders
    visual_layers: int = Field(4, ge=1)  # n_v
    audio_layers: int = Field(4, ge=1)  # n_a
    text_layers: int = Field(6, ge=1)  # n_t
    cross_layers: int = Field(3, ge=1)  # n_c, in each of the three cross-modal encoders
    decoder_layers: int = Field(1, ge=1)  # label-guided decoder
    max_steps: int = Field(60, ge=1)  # tau, longest sequence; rows of the position tables
    modality_max_steps: dict[Modality, PositiveInt] = Field(
        {}
    )  # where not max_steps, if C is no sum
    fusion_order: tuple[Block, ...] = ("visual", "audio", "text", "common")  # psi, Eq. 8
    common: Literal["sum", "concatenate"] = "sum"  # C of Eq. 8; ours: end to end, any lengths

    dropout: float = Field(0.3, ge=0, lt=1)  # encoders, decoder, common generator; the program's
    input_dropout: float = Field(0.0, ge=0, lt=1)  # of the raw features, for small data sets
    refinement_dropout: float = Field(0.1, ge=0, lt=1)  # private extractors, discriminator
    layer_norm_eps: float = Field(1e-12, gt=0)  # the program's
    initial_std: float = Field(0.02, gt=0)  # normal initialisation of all weights; the program's

    adversarial_weight: float = Field(0.01, ge=0)  # alpha, Eq. 17
    orthogonality_weight: float = Field(5e-6, ge=0)  # beta
    common_semantics_weight: float = Field(0.5, ge=0)  # gamma

    refinement: Literal["full", "common", "private", "none"] = "full"  # parts fused; none: V, A, T
    refinement_losses: tuple[RefinementLoss, ...] = (  # those of Eq. 17 beside L_ml
        "adversarial", "orthogonality", "common_semantics"
    )  # fmt: skip
    label_decoder: LabelDecoding = "full"  # Eq. 9-14, or as in rows 9, 10 and 11 of Table 3
    modality_tokens: bool = True  # E_A, E_B of Fig. 3

    classifier: Literal["per_label", "shared"] = "per_label"  # Eq. 15 has W_k, b_k per label
    discriminator: Literal["linear", "mlp"] = "linear"  # Eq. 2; the program: hidden layer d/2
    common_semantics: Literal["per_modality", "sum_first_step"] = "per_modality"  # Eq. 7
    orthogonality: Literal["common_private", "all_pairs"] = "common_private"  # Eq. 6
    concatenation: Literal["fusion_order", "program"] = "fusion_order"  # order inside a CME, Eq. 8
    input_norm: bool = False  # layer normalisation of the raw features, as in the program
    label_norm: bool = False  # layer normalisation and dropout of the label embedding
    logit_dropout: float = Field(0.0, ge=0, lt=1)  # dropout on logits, program: 0.1
    pad_to_max_steps: bool = False  # the program pads every sequence to max_steps
    attend_to_padding: bool = False  # the program's masks are all ones
    mask_common: bool = True  # False: the common part of the last fusion is never masked
    mask_losses: bool = True  # False: padding counts in adversarial and orthogonality losses

    @model_validator(mode="after")
    def _check(self) -> "TailorConfig":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}"
            )
        if sorted(self.fusion_order) != ["audio", "common", "text", "visual"]:
            raise ValueError("fusion_order must hold visual, audio, text and common, each once")
        if self.concatenation == "program" and self.fusion_order[-1] != "common":
            raise ValueError("the program's concatenation needs common as the last to be fused")
        if len(set(self.refinement_losses)) != len(self.refinement_losses):
            raise ValueError("refinement_losses must name each loss once")
        if self.modality_max_steps and not self.takes_unaligned:
            raise ValueError(
                "modality_max_steps needs common = concatenate: a sum is of equal lengths"
            )
        return self

    @property
    def has_common(self) -> bool:
        """Whether there are common representations C^m."""
        return self.refinement in ("full", "common")

    @property
    def has_private(self) -> bool:
        """Whether there are private representations P^m."""
        return self.refinement in ("full", "private")

    @property
    def takes_unaligned(self) -> bool:
        """Whether the modalities may differ in length: nothing sums them step by step."""
        return self.common == "concatenate" or self.refinement != "full"

    @property
    def loss_weights(self) -> dict[str, float]:
        """The losses of Eq. 17 and their weights: those whose representations are there."""
        weights = {"classification": 1.0}
        wanted = self.refinement_losses
        if self.has_common and "adversarial" in wanted:
            weights["adversarial_common"] = self.adversarial_weight
        if self.has_private and "adversarial" in wanted:
            weights["adversarial_private"] = self.adversarial_weight
        if self.has_common and self.has_private and "orthogonality" in wanted:
            weights["orthogonality"] = self.orthogonality_weight
        if self.has_common and "common_semantics" in wanted:
            weights["common_semantics"] = self.common_semantics_weight
        return weights

    def steps_of(self, modality: Modality) -> int:
        """Return the longest sequence of a modality."""
        return self.modality_max_steps.get(modality, self.max_steps)

    @classmethod
    def paper(cls) -> "TailorConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "TailorConfig":
        """The model as the authors' program computes it, so that their checkpoint loads."""
        return cls(
            classifier="shared",
            discriminator="mlp",
            common_semantics="sum_first_step",
            orthogonality="all_pairs",
            concatenation="program",
            input_norm=True,
            label_norm=True,
            logit_dropout=0.1,
            pad_to_max_steps=True,
            attend_to_padding=True,
            mask_common=False,
            mask_losses=False,
        )


RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "authors": {"optimizer": "bert_adam", "learning_rate": 5e-5, "weight_decay": 0.01}
}
"""The authors' shell script; the defaults of training are the paper's."""
