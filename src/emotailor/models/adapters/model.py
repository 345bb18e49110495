"""A text encoder that is trained together with the system behind it.

Notable:

- the features of text that a data set has tell which words have a vector; the vectors themselves
  are computed anew from the words, by the encoder that made the features, with adapters in it;
- a fresh model sees what a system on the stored features sees: the adapters add nothing yet;
- in the first part of a training the system alone is trained, on the stored features;
- a word that is masked is hidden from the encoder too, so that evidence measured by hiding words is
  true: no other word's vector knows of it;
- the model folder holds the adapters alone, a few MB; the encoder is found by its name or its
  folder, and must have the same weights;
- a text that was cut to its first words is read without the others, whose vectors had seen them.

Symbols: B batch, T words, d width of the encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emotailor.data.batching import Batch, Standardizer
from emotailor.errors import ModelError
from emotailor.models.adapters.base import BaseEncoder
from emotailor.models.adapters.bert import AdaptedBert
from emotailor.models.adapters.config import AdapterConfig
from emotailor.models.adapters.reading import read
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.wrapped import WrappedModel
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import span


@dataclass(frozen=True)
class Adapters:
    """How a text encoder is trained along, and which.

    Attributes:
        config: settings, with a rank above 0.
        encoder: the encoder.
    """

    config: AdapterConfig
    encoder: BaseEncoder


class TextAdapted(WrappedModel):
    """A system behind a text encoder with adapters.

    Args:
        config: settings, with a rank above 0.
        encoder: the encoder.
        model: the system, which takes text of the encoder's width.

    Raises:
        ModelError: the system takes no text, or text of another width.
    """

    ROLE = "adapters."
    """Begins the roles of the parameters of the encoder."""

    mean: Tensor
    scale: Tensor
    limit: Tensor
    adapting: Tensor

    def __init__(self, config: AdapterConfig, encoder: BaseEncoder, model: EmotionModel) -> None:
        super().__init__(model)
        found = model.dims.get("text")
        if found != encoder.width:
            what = "no text" if found is None else f"text of {found} features"
            raise ModelError(
                f"a system that takes {what}, behind {encoder.extraction.extractor}",
                expected=f"text of the {encoder.width} features of that encoder",
                fix="train with --set adapters.rank=0",
            )
        self.config = config
        self.encoder = encoder
        self.adapters = AdaptedBert(encoder.layers, encoder.width, encoder.inner, config)

        # how features are standardised: (v - mean) * scale within the limit
        self.register_buffer("mean", torch.zeros(encoder.width))
        self.register_buffer("scale", torch.ones(encoder.width))
        self.register_buffer("limit", torch.tensor(torch.inf))

        # False in the part of a training in which the encoder stays as it is
        self.register_buffer("adapting", torch.tensor(data=True))

    def standardize_as(self, standardizer: Standardizer) -> None:
        """Standardise the vectors as the stored features of text are."""
        self.mean.copy_(torch.from_numpy(standardizer.mean["text"]))
        self.scale.copy_(torch.from_numpy(standardizer.scales["text"]))
        self.limit.fill_(standardizer.limit)

    def settle(self) -> None:
        """Get ready to be asked often: the adapters become part of the weights, until they change.

        It takes the memory of the adapted layers.
        """
        self.adapters.settle(self.encoder.network_like(self.mean))

    def begin_update(self, step: int, steps: int) -> None:
        """Train the encoder along from a certain update on."""
        super().begin_update(step, steps)
        self.adapting.fill_(step >= self.config.start * steps)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute what the system computes of the vectors that the adapted encoder makes.

        Raises:
            ModelError: nobody knows the words of a sample that has text.
        """
        output: ModelOutput = self.model(self.encoded(batch), features=features)
        return output

    def encoded(self, batch: Batch) -> Batch:
        """Return the batch that the system sees: with text as the adapted encoder makes it.

        Raises:
            ModelError: nobody knows the words of a sample that has text.
        """
        if not self.adapting:
            return batch
        mask = batch.masks["text"]
        if "text" in batch.shared and not is_plain():
            mask = mask[:1]  # all rows are the same

        texts = _words_of(batch, mask)
        vectors = self._vectors(texts, mask).expand(len(batch), -1, -1)
        return replace(batch, values={**batch.values, "text": vectors})

    def _vectors(
        self, texts: Sequence[Sequence[str]], mask: Bool[Tensor, "batch words"]
    ) -> Float[Tensor, "batch words width"]:
        """Return the standardised vectors of all words that may be seen; zeros elsewhere."""
        seen = mask.cpu().numpy()
        reading = read(texts, seen, self.encoder.tokenizer, self.encoder.most)
        reading = reading.to(mask.device)

        network = self.encoder.network_like(self.mean)
        hidden = self.adapters(network, reading.pieces, reading.real, reading.place)

        # the mean over the pieces of each word
        counted = reading.step >= 0
        step = reading.step[counted]  # (pieces,)
        pieces = hidden[counted]  # (pieces, d)
        count = mask.numel()
        sums = pieces.new_zeros(count, pieces.shape[1]).index_add(0, step, pieces)
        number = torch.bincount(step, minlength=count).clamp(min=1)
        vectors = sums / number[:, None]

        vectors = (vectors - self.mean) * self.scale
        vectors = vectors.clamp(-self.limit, self.limit)
        vectors = vectors.view(*mask.shape, -1)
        return vectors.masked_fill(~mask[..., None], 0.0)


def _words_of(batch: Batch, mask: Bool[Tensor, "batch words"]) -> list[Sequence[str]]:
    """Return the words of each sample; none where it has no text.

    Raises:
        ModelError: a sample has text, and not a word for each of its steps.
    """
    known = batch.words
    if known is None:
        known = [None] * len(batch)

    texts: list[Sequence[str]] = []
    for row, needed in enumerate(span(mask).tolist()):  # up to the last word with a vector
        if not needed:
            texts.append(())
            continue

        words = known[row]
        if words is None or len(words) < needed:
            found = "no words" if words is None else f"{len(words)} words"
            raise ModelError(
                f"sample {batch.ids[row]!r} has {found} for {needed} steps of text",
                expected="a word for each step: the text encoder of this model reads them",
                fix="encode its text with `emotailor data convert --encoder`, which keeps the "
                "words, or predict with --text",
            )
        texts.append(words[: mask.shape[1]])
    return texts
