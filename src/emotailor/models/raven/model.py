"""RAVEN: words shifted by the nonverbal behaviour that accompanies them (AAAI 2019).

Notable:

- a nonverbal sub-network per modality: an LSTM over the visual or acoustic frames of each word;
- gated modality mixing: a scalar gate per word and modality, from its state and the word, weighs
  how much that modality moves the word;
- multimodal shifting: the mixed shift h_m is added to the word vector, never longer than beta times
  the word itself;
- an LSTM over the shifted words, whose last state is classified.

Wang, Shen, Liu, Liang, Zadeh and Morency: Words Can Shift: Dynamically Adjusting Word
Representations Using Nonverbal Behaviors. AAAI 2019. Symbols: e word vector; h_v, h_a sub-network
states; w_v, w_a gates; h_m shift; alpha its scale, beta ``shift_weight``; e_m = e + alpha h_m
shifted word; B batch, N words, S frames of a word.

Adaptations: one logit per label with binary cross-entropy. Word-aligned data have one frame of each
modality per word: S = 1. The LSTM of a sub-network then takes one step from the zero state; its
recurrent weights and forget gate could never matter, so with ``max_frames`` = 1 they do not exist
(``OneStepLSTM``). The core, :meth:`RAVEN.classify`, takes any number of frames with their counts.
Text and one other modality suffice. A word without frames has the zero state in that modality, and
so has every word of a missing modality. A masked word never happened: the word-level LSTM carries
its state over it. Nonverbal behaviour acts through words alone: without any word its state is zero.

Every place where the authors' program departs from the paper is a switch of ``RAVENConfig``, marked
DIVERGENCE here; an unmarked departure is a bug. These hold for both presets:
DIVERGENCE (dropout in evaluation): the program never turns dropout off, not even when testing.
DIVERGENCE (small sizes): the program skips batches of one sample.
DIVERGENCE (last state): the program can also flatten the states of all words (``lastState`` off),
without gradient through them; not offered.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ModelError, TooLongError
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.models.raven.config import RAVENConfig
from emotailor.nn.dropout import Dropout
from emotailor.nn.exporting import is_exporting
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import cleared

Frames = Mapping[Modality, Float[Tensor, "batch words frames _"]]
Counts = Mapping[Modality, Int64[Tensor, "batch words"]]


@dataclass(frozen=True)
class Shift:
    """What happened to the words.

    Attributes:
        states: modality -> h, (B, N, C).
        gates: modality -> w, (B, N, 1).
        raw: h_m, (B, N, D).
        added: alpha h_m, (B, N, D).
        words: e_m, (B, N, D).
    """

    states: Mapping[Modality, Float[Tensor, "batch words size"]]
    gates: Mapping[Modality, Float[Tensor, "batch words 1"]]
    raw: Float[Tensor, "batch words dim"]
    added: Float[Tensor, "batch words dim"]
    words: Float[Tensor, "batch words dim"]


class RAVEN(EmotionModel):
    """The Recurrent Attended Variation Embedding Network.

    Args:
        config: settings.
        dims: modality -> feature width; text and at least one other.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True

    def __init__(self, config: RAVENConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        others = [m for m in MODALITIES if m in dims and m != "text"]
        self.nonverbal: tuple[Modality, ...] = tuple(others)

        # DIVERGENCE (audio_norm): the program normalises audio by the batch, which makes a
        # prediction depend on batch mates and padding; here features are standardised by the
        # training split before they reach the model
        by_position = config.audio_norm == "word_position"
        if by_position:  # then a batch cannot be computed in parts
            self.sample_means = False

        self.networks = nn.ModuleDict()
        for m in self.nonverbal:
            norm = None
            if by_position and m == "audio":
                norm = WordPositionNorm(config.max_words)
            self.networks[m] = NonverbalNetwork(
                config,
                dims[m],
                dims["text"],
                norm,
            )

        states = len(self.nonverbal) * config.cell_size
        self.mixing = nn.Linear(states, dims["text"])  # W_v, W_a and b
        self.dropout = Dropout(config.dropout)
        self.lstm = RecurrentEncoder(
            dims["text"],
            config.hidden_size,
            layers=config.layers,
        )
        self.classifier = nn.Linear(config.hidden_size, num_labels)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the loss and, if asked, features.

        Features, by name (m a nonverbal modality); at padded words their values mean nothing:
            ``state.m``: h_m, (B, N, cell_size).
            ``gate.m``: w_m, (B, N).
            ``shift``: alpha h_m, what was added to each word, (B, N, D).
            ``words``: e_m, (B, N, D).
            ``representation``: the last state of the word-level LSTM, (B, hidden_size).

        Raises:
            ModelError: the modalities differ in length, or the sequences are longer than
                ``max_words`` where audio is normalised by word position.
        """
        self.check_batch(batch)
        # word-aligned: each step is the one frame of its word
        frames = {m: batch.values[m][:, :, None] for m in self.nonverbal}
        counts = {m: batch.masks[m].long() for m in self.nonverbal}
        logits, shift, last = self.classify(
            batch.values["text"],
            batch.masks["text"],
            frames,
            counts,
        )

        named: dict[str, Tensor] = {}
        if features:
            named["shift"] = shift.added
            named["words"] = shift.words
            named["representation"] = last
            for m in self.nonverbal:
                named[f"state.{m}"] = shift.states[m]
                named[f"gate.{m}"] = shift.gates[m].squeeze(-1)
        return ModelOutput(logits, classification_loss(logits, batch, self.label_loss), named)

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require word-aligned sequences, of at most ``max_words`` where audio is normalised."""
        super().check_lengths(longest, aligned=aligned)
        for module in self.modules():
            if isinstance(module, WordPositionNorm):
                module.check(max(longest.values()))

    def classify(
        self,
        words: Float[Tensor, "batch words dim"],
        mask: Bool[Tensor, "batch words"],
        frames: Frames,
        counts: Counts,
    ) -> tuple[Float[Tensor, "batch labels"], Shift, Float[Tensor, "batch hidden"]]:
        """Classify words with any number of frames each.

        Args:
            words: e, (B, N, D).
            mask: (B, N), True at real words.
            frames: modality -> (B, N, S, dim), the real ones first.
            counts: modality -> (B, N), how many frames of each word are real.

        Returns:
            The logits, what happened to the words, and the last state of the word-level LSTM.

        Raises:
            ModelError: there are more frames per word than ``max_frames``.
        """
        most = max(x.shape[2] for x in frames.values())
        if most > self.config.max_frames:
            raise ModelError(
                f"words of up to {most} frames",
                expected=f"at most max_frames = {self.config.max_frames}",
                fix=f"train with --set model.max_frames={most}",
            )

        real_words = cleared(words, mask)
        shift = self._shift(real_words, frames, counts)
        _, finals, _ = self.lstm(self.dropout(shift.words), mask)
        last = finals[-1, 0]  # (B, H), of the last layer
        return self.classifier(last), shift, last

    def _shift(
        self, words: Float[Tensor, "batch words dim"], frames: Frames, counts: Counts
    ) -> Shift:
        """Gated modality mixing and multimodal shifting."""
        states: dict[Modality, Tensor] = {}
        gates: dict[Modality, Tensor] = {}
        gated = []
        for m in self.nonverbal:
            state, gate = self.networks[m](words, frames[m], counts[m])
            states[m] = state
            gates[m] = gate
            gated.append(gate * state)

        # h_m = w_v W_v h_v + w_a W_a h_a + b
        raw = self.mixing(torch.cat(gated, -1))
        # DIVERGENCE (detach_shift): the released program cuts h_m off the graph (not |e|), so that
        # nothing that yields it is ever trained
        if self.config.detach_shift:
            raw = raw.detach()
        added = self._scale(words, raw) * raw

        return Shift(
            states=states,
            gates=gates,
            raw=raw,
            added=added,
            words=words + added,
        )

    def _scale(
        self, words: Float[Tensor, "batch words dim"], raw: Float[Tensor, "batch words dim"]
    ) -> Float[Tensor, "batch words 1"]:
        """Alpha: what keeps a shift shorter than beta times its word."""
        limit = self.config.shift_weight * words.norm(dim=-1, keepdim=True)
        length = raw.norm(dim=-1, keepdim=True)
        # DIVERGENCE (shift_limit): the program scales short shifts by beta |e| too, and sets
        # in where a shift is longer than 1, not longer than beta |e|
        if self.config.shift_limit == "unit_norm":
            return limit / length.clamp(min=1)

        # alpha = min(beta |e| / |h_m|, 1), written so that neither norm may be zero
        longest = torch.maximum(length, limit)
        return limit / longest.clamp(min=1e-6)


class NonverbalNetwork(nn.Module):
    """Nonverbal sub-network: an LSTM over the frames of each word, and the gate of its state.

    Args:
        config: settings.
        dim: width of the frames.
        word_dim: width of the words.
        norm: normalisation of the frames, or None.
    """

    def __init__(
        self, config: RAVENConfig, dim: int, word_dim: int, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = Dropout(config.dropout)

        # DIVERGENCE (frame_size): the program projects frames linearly before the LSTM
        self.project: nn.Linear | None = None
        width = dim
        if config.frame_size:
            self.project = nn.Linear(dim, config.frame_size)
            width = config.frame_size

        self.lstm: nn.Module
        if config.max_frames == 1:
            self.lstm = OneStepLSTM(width, config.cell_size)
        else:
            self.lstm = RecurrentEncoder(width, config.cell_size)

        self.gate = nn.Linear(config.cell_size + word_dim, 1)
        self.sigmoid = config.gate == "sigmoid"

    def forward(
        self,
        words: Float[Tensor, "batch words word_dim"],
        frames: Float[Tensor, "batch words frames dim"],
        counts: Int64[Tensor, "batch words"],
    ) -> tuple[Float[Tensor, "batch words size"], Float[Tensor, "batch words 1"]]:
        """Return the state of every word, zero where it has no frame, and its gate w."""
        most = frames.shape[2]
        frame = torch.arange(most, device=counts.device)
        real = frame < counts[..., None]  # (B, N, S)

        x = frames.masked_fill(~real[..., None], 0)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        if self.project is not None:
            x = self.project(x)
        states = self._states(x, real)

        both = torch.cat([states, words], -1)
        gate = self.gate(both)
        # DIVERGENCE (gate): the program's gates are not squashed
        if self.sigmoid:
            gate = gate.sigmoid()
        return states, gate

    def _states(
        self,
        x: Float[Tensor, "batch words frames width"],
        real: Bool[Tensor, "batch words frames"],
    ) -> Float[Tensor, "batch words size"]:
        """Return the state of the LSTM after the frames of each word."""
        if isinstance(self.lstm, OneStepLSTM):
            return self.lstm(x[:, :, 0]) * real[:, :, :1]

        # every word is a sequence of its own: (B N, S, width)
        _, last, _ = self.lstm(x.flatten(0, 1), real.flatten(0, 1))
        states = last[-1, 0]  # (B N, C)
        return states.unflatten(0, real.shape[:2])


class OneStepLSTM(nn.Module):
    """What an LSTM computes in its first step: o tanh(i g), without a state before it."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.gates = nn.Linear(dim, 3 * size)
        bound = size**-0.5  # torch's LSTM starts so
        for parameter in self.gates.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows size"]:
        """Return the hidden states."""
        entered, proposed, shown = self.gates(x).chunk(3, -1)
        cell = entered.sigmoid() * proposed.tanh()
        return shown.sigmoid() * cell.tanh()


class WordPositionNorm(nn.Module):
    """Batch normalisation with the position of the word as channel, no running statistics.

    As in the program, the statistics are those of the batch in evaluation too, padding included.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(words))
        self.bias = nn.Parameter(torch.zeros(words))

    def check(self, words: int) -> None:
        """Raise a ModelError where there are more words than positions."""
        if words > len(self.weight):
            raise TooLongError(
                f"a sequence of {words} words",
                most=len(self.weight),
                expected=f"at most max_words = {len(self.weight)}",
                fix=f"train with --set model.max_words={words}, "
                "or with --set model.audio_norm=none",
            )

    def forward(
        self, x: Float[Tensor, "batch words frames dim"]
    ) -> Float[Tensor, "batch words frames dim"]:
        """Normalise the frames of each position; ModelError where there are more words."""
        words = x.shape[1]
        if not is_exporting():
            self.check(words)
        used = torch.arange(words, device=x.device)
        return F.batch_norm(
            x,
            running_mean=None,
            running_var=None,
            weight=self.weight.index_select(0, used),
            bias=self.bias.index_select(0, used),
            training=True,
            eps=1e-5,
        )
