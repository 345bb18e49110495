"""What TAILOR, CARAT and LDDU start with: a Transformer encoder for each modality."""

from collections.abc import Collection, Iterable, Mapping

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import TooLongError
from emotailor.models.base import EmotionModel
from emotailor.models.carat.config import CARATConfig
from emotailor.models.lddu.config import LDDUConfig
from emotailor.models.tailor.config import TailorConfig
from emotailor.nn.dropout import Dropout
from emotailor.nn.encoder import SequenceEncoder, TransformerShape
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import cleared

Masks = dict[Modality, Bool[Tensor, "batch _"]]
Streams = dict[Modality, Float[Tensor, "batch _ size"]]


class EncodedModel(EmotionModel):
    """Base of the systems that encode each modality by itself.

    Args:
        config: settings.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        shape: sizes of all Transformer layers.
        input_norms: modality -> normalisation of its raw features; empty without ``input_norm``.
        encoders: modality -> its encoder, (B, T, dim) -> (B, T, d).
    """

    config: TailorConfig | CARATConfig | LDDUConfig

    def __init__(
        self,
        config: TailorConfig | CARATConfig | LDDUConfig,
        dims: Mapping[Modality, int],
        num_labels: int,
    ) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.shape = TransformerShape(
            config.hidden_size,
            config.feedforward_size,
            config.heads,
            config.dropout,
            config.layer_norm_eps,
        )
        layers: dict[Modality, int] = {
            "visual": config.visual_layers,
            "audio": config.audio_layers,
            "text": config.text_layers,
        }

        self.input_norms = nn.ModuleDict()
        if config.input_norm:
            for m in self.modalities:
                self.input_norms[m] = nn.LayerNorm(dims[m], config.layer_norm_eps)
        self.input_dropout = Dropout(config.input_dropout)

        self.encoders = nn.ModuleDict()
        for m in self.modalities:
            _, max_steps = self.most_steps(m)
            self.encoders[m] = SequenceEncoder(dims[m], self.shape, layers[m], max_steps)

    def _initialise(self, module: nn.Module) -> None:
        """Draw the weights of a linear map or an embedding (for ``nn.Module.apply``)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initial_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @property
    def always_decayed(self) -> set[str]:
        """The weights of the input normalisation, as in their programs."""
        return {f"input_norms.{m}.weight" for m in self.input_norms}

    def hand_over_input_norms(self, modalities: Iterable[Modality]) -> nn.ModuleDict:
        """Give away the normalisation of some modalities; see the base class."""
        given = nn.ModuleDict()
        for m in modalities:
            if m in self.input_norms:
                given[m] = self.input_norms.pop(m)
        return given

    def most_steps(self, modality: Modality) -> tuple[str, int]:
        """Return the setting that bounds the steps of a modality, and its value."""
        return "max_steps", self.config.max_steps

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require sequences within the position tables, aligned unless the system takes others.

        Raises:
            ModelError: they are too long, or need aligning first.
        """
        super().check_lengths(longest, aligned=aligned)

        longest_first = sorted(longest, key=lambda m: -longest[m])
        for m in longest_first:
            steps = longest[m]
            name, most = self.most_steps(m)

            if steps > most:
                raise TooLongError(
                    f"a sequence of {steps} steps",
                    most=most,
                    expected=f"at most {name} = {most}",
                    fix=f"train with --set model.{name}={steps}",
                )

    def enter(
        self, modality: Modality, values: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Normalise raw features, where there is a normalisation, and drop out."""
        if modality in self.input_norms:
            values = self.input_norms[modality](values)
        return self.input_dropout(values)

    def encode_one(
        self,
        modality: Modality,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        shared: Collection[Modality],
    ) -> Float[Tensor, "batch steps size"]:
        """Return the encoded steps of a modality, of one row for all where all are the same.

        Args:
            modality: one of the model's.
            values: its features as :meth:`enter` leaves them.
            mask: its real steps.
            shared: the modalities whose rows are all the same.
        """
        # what is dropped out differs from row to row
        alike = modality in shared and not self.training and not is_plain()
        rows = slice(0, 1) if alike else slice(None)
        encoded: Tensor = self.encoders[modality](values[rows], mask[rows])
        if not alike:
            return encoded
        return encoded.expand(values.shape[0], -1, -1).contiguous()

    def encode(self, batch: Batch, *, clear: bool = True) -> tuple[Masks, Streams]:
        """Return the masks and the encoded steps of each modality, as CARAT and LDDU need them.

        Args:
            batch: a batch.
            clear: whether masked steps are zeros before they are encoded.
        """
        self.check_batch(batch)

        masks = {}
        encoded = {}
        for m in self.modalities:
            mask = batch.masks[m]
            x = batch.values[m]
            if clear:
                x = cleared(x, mask)

            # DIVERGENCE (attend_to_padding): the program's masks are all ones, over max_steps steps
            if self.config.attend_to_padding:
                more = self.config.max_steps - x.shape[1]
                x = F.pad(x, (0, 0, 0, more))
                mask = mask.new_ones(x.shape[:2])

            entered = self.enter(m, x)
            encoded[m] = self.encode_one(m, entered, mask, batch.shared)
            masks[m] = mask
        return masks, encoded

    def named(
        self,
        encoded: Streams,
        attention: Mapping[Modality, Float[Tensor, "batch labels _"]],
        parts: Mapping[str, Float[Tensor, "batch modalities *_"]],
        logits: Mapping[str, Float[Tensor, "batch labels"]],
    ) -> dict[str, Tensor]:
        """Return what a model of labels in each modality shows of itself, by name.

        Args:
            encoded: steps of each modality, shown as ``encoder.m``.
            attention: of each label to these steps, shown as ``attention.m`` of one head.
            parts: name -> what there is for every modality, shown as ``name.m``.
            logits: name -> logits, shown as ``logits.name``.
        """
        named: dict[str, Tensor] = {}
        for k, m in enumerate(self.modalities):
            named[f"encoder.{m}"] = encoded[m]
            named[f"attention.{m}"] = attention[m][:, None]
            for name, x in parts.items():
                named[f"{name}.{m}"] = x[:, k]

        for name, x in logits.items():
            named[f"logits.{name}"] = x
        return named
