"""Settings of TAILOR, and the two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from emotailor.config import Config, check_multiple
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

    hidden_size: int = Field(256, ge=1)  # d, width of every representation; paper
    feedforward_size: int = Field(256, ge=1)  # inner width of feed-forward parts; program
    heads: int = Field(8, ge=1)  # h_l = h_m, attention heads, in all encoders too; paper
    visual_layers: int = Field(4, ge=1)  # n_v, layers of the visual encoder; paper
    audio_layers: int = Field(4, ge=1)  # n_a, layers of the audio encoder; paper
    text_layers: int = Field(6, ge=1)  # n_t, layers of the text encoder; paper
    # n_c, layers of each of the three cross-modal encoders; paper
    cross_layers: int = Field(3, ge=1)
    decoder_layers: int = Field(1, ge=1)  # layers of the label-guided decoder; program
    # tau, longest sequence, and rows of the position tables; paper (Table 1)
    max_steps: int = Field(60, ge=1)
    # longest sequence of a modality where it is not max_steps, for common = concatenate; ours
    modality_max_steps: dict[Modality, PositiveInt] = Field({})
    fusion_order: tuple[Block, ...] = ("visual", "audio", "text", "common")  # psi, Eq. 8; paper
    # C of Eq. 8: the sum over modalities; concatenate: end to end, for any lengths; paper;
    # concatenate is ours
    common: Literal["sum", "concatenate"] = "sum"

    # dropout of encoders, decoder and common generator; program
    dropout: float = Field(0.3, ge=0, lt=1)
    # dropout of the raw features, for small data sets; ours
    input_dropout: float = Field(0.0, ge=0, lt=1)
    # dropout of private extractors and discriminator; program
    refinement_dropout: float = Field(0.1, ge=0, lt=1)
    layer_norm_eps: float = Field(1e-12, gt=0)  # epsilon of all layer normalisation; program
    # deviation of the normal initialisation of all weights; program
    initial_std: float = Field(0.02, gt=0)

    # alpha, Eq. 17, weight of the adversarial losses; paper
    adversarial_weight: float = Field(0.01, ge=0)
    # beta, Eq. 17, weight of the orthogonality loss; paper
    orthogonality_weight: float = Field(5e-6, ge=0)
    # gamma, Eq. 17, weight of the common semantics loss; paper
    common_semantics_weight: float = Field(0.5, ge=0)

    # which of C^m and P^m are fused; none: V, A and T instead; paper
    refinement: Literal["full", "common", "private", "none"] = "full"
    # losses of Eq. 17 beside L_ml; paper
    refinement_losses: tuple[RefinementLoss, ...] = (
        "adversarial", "orthogonality", "common_semantics"
    )  # fmt: skip
    # Eq. 9-14; correlation, embedding and identical are rows 11, 10 and 9 of Table 3; paper
    label_decoder: LabelDecoding = "full"
    modality_tokens: bool = True  # E_A and E_B of Fig. 3; paper

    # W_k and b_k of Eq. 15 for each label; shared: one for all; paper; program: shared
    classifier: Literal["per_label", "shared"] = "per_label"
    # D of Eq. 2; mlp: with a hidden layer of width d/2; paper; program: mlp
    discriminator: Literal["linear", "mlp"] = "linear"
    # labels predicted from each C^m (Eq. 7), or from step 0 of their sum; paper; program: sum
    common_semantics: Literal["per_modality", "sum_first_step"] = "per_modality"
    # Eq. 6: C^m with P^m; all_pairs: also P^m with P^m'; paper; program: all_pairs
    orthogonality: Literal["common_private", "all_pairs"] = "common_private"
    # order inside a cross-modal encoder (Eq. 8); paper; program: an order of its own
    concatenation: Literal["fusion_order", "program"] = "fusion_order"
    input_norm: bool = False  # layer normalisation of the raw features; program: yes
    label_norm: bool = False  # layer normalisation and dropout of the label embedding; program: yes
    logit_dropout: float = Field(0.0, ge=0, lt=1)  # dropout on the logits; program: 0.1
    pad_to_max_steps: bool = False  # whether every sequence is padded to max_steps; program: yes
    # whether masks are all ones, so that padding is attended to; program: yes
    attend_to_padding: bool = False
    mask_common: bool = True  # whether the common part of the last fusion is masked; program: no
    # whether padding is left out of adversarial and orthogonality losses; program: no
    mask_losses: bool = True

    @model_validator(mode="after")
    def _check(self) -> "TailorConfig":
        check_multiple(self, "hidden_size", "heads")

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
    def reads_padding(self) -> bool:
        """Whether something reads masked steps too, as the program does."""
        return self.attend_to_padding or not self.mask_common or not self.mask_losses

    @property
    def loss_weights(self) -> dict[str, float]:
        """The losses of Eq. 17 and their weights: those whose representations are there."""
        weights = {"classification": 1.0}
        wanted = self.refinement_losses

        if "adversarial" in wanted:
            if self.has_common:
                weights["adversarial_common"] = self.adversarial_weight
            if self.has_private:
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
    def tuned(cls) -> "TailorConfig":
        """A size and a regularisation with which small data are learned; see docs/results.md."""
        return cls(
            hidden_size=128,
            feedforward_size=128,
            heads=4,
            visual_layers=2,
            audio_layers=2,
            text_layers=2,
            cross_layers=1,
            dropout=0.1,
            input_dropout=0.4,
            initial_std=0.05,
        )

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
