"""SGM: multi-label classification as the generation of a label sequence (COLING 2018).

Notable:

- a bidirectional LSTM reads the words; a decoder LSTM writes one label per step until the end
  token, and each step attends to the words;
- labels are written by their frequency in training, the most frequent first, so that every label
  set is one sequence; a sample without labels is the end token alone;
- no label is written twice: in decoding, those of the hypothesis are masked (I_t);
- global embedding: the decoder reads not the label it wrote alone but, through a gate, the average
  of all label embeddings under the previous step's distribution, so that a wrong label weighs less.

Yang, Sun, Li, Ma, Wu and Wang: SGM: Sequence Generation Model for Multi-Label Classification.
COLING 2018. Symbols: B batch, T words, L labels, N hypotheses, V outputs (end token and labels).

    h = BiLSTM(x),  a_t = softmax(h W s_t),  c_t = sum_i a_ti h_i
    s_t = LSTM(s_{t-1}, g(y_{t-1})),  o_t = W_o tanh(W_d s_t + V_d c_t),  y_t = softmax(o_t + I_t)
    g = (1 - H) e + H ē,  H = sigmoid(W_1 e + W_2 ē),  ē = sum_l y_{t-1,l} e_l

Adapted to emotions: word vectors take the place of learned word embeddings. The paper yields label
sets alone; here a label's probability is that of all sequences that contain it, divided by that of
all sequences, and its logit the log-odds. All ordered subsets of the labels are summed (1,957 of
six labels), level by level of their prefix tree; a prefix less probable than ``least_prefix``
counts as if it ended there. Where there are more than ``exact_limit`` subsets, the ``beam`` most
probable prefixes of each length are continued, and the others count as if they ended. In training
mode logits are cheap: the largest of the taught steps. ``decode`` is the paper's beam search. A
sample without words has zero states and contexts: the decoder writes what it knows of labels.

Every place where program and paper depart is a switch of ``SGMConfig``, marked DIVERGENCE here.
These hold for both presets:
DIVERGENCE (slots): in the beam search of 2018, label masks and previous distributions stay with a
slot of the beam; here they follow their hypothesis.
DIVERGENCE (finished): the program's finished samples search on while their batch mates do; here
each stops by itself.
DIVERGENCE (gru start): with several GRU layers, the program's decoder starts from the interleaved
states of both directions; here from each layer's own.
DIVERGENCE (biases): the maps of the attention and the output layer have biases, as in the program.
DIVERGENCE (gate roles): the program of today exchanges H and 1 - H, which is the same function with
the signs of the gate's weights exchanged.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, LabelStatistics, ModelOutput, logit_of
from emotailor.models.sgm.config import SGMConfig
from emotailor.models.sgm.decoding import (
    END,
    IGNORED,
    NEVER,
    beam_search,
    every_sequence,
    label_probabilities,
    label_sequences,
    label_targets,
    number_within,
)
from emotailor.nn.dropout import Dropout
from emotailor.nn.exporting import is_exporting
from emotailor.nn.recurrent import RecurrentEncoder, run_layer
from emotailor.nn.sequence import masked_softmax

# token ids: END = 0, 1 + k is label k, 1 + L begins a sequence; then, if asked, padding and unknown
SCORED_TOGETHER = 16  # samples whose prefix trees are in memory at once


@dataclass(frozen=True)
class Memory:
    """What the decoder reads of B samples.

    Attributes:
        states: h, (B, T, d), 0 at masked steps.
        keys: what the states are scored by, (B, T, d).
        mask: (B, T), where the attention looks.
    """

    states: Float[Tensor, "batch steps size"]
    keys: Float[Tensor, "batch steps size"]
    mask: Bool[Tensor, "batch steps"]

    def part(self, start: int, count: int) -> "Memory":
        """Return the samples from ``start`` on, at most ``count``."""
        end = start + count
        return Memory(
            states=self.states[start:end],
            keys=self.keys[start:end],
            mask=self.mask[start:end],
        )


@dataclass(frozen=True)
class State:
    """The decoder after a step of N hypotheses.

    Attributes:
        hidden: s of every layer, (layers, N, d).
        cells: the cells of an LSTM, (layers, N, d); None of a GRU.
        context: c, (N, d).
        logits: of the next token, (N, V); None before the first step.
    """

    hidden: Float[Tensor, "layers rows size"]
    cells: Float[Tensor, "layers rows size"] | None
    context: Float[Tensor, "rows size"]
    logits: Float[Tensor, "rows outputs"] | None

    def rows(self, chosen: Int64[Tensor, "chosen"]) -> "State":
        """Return the chosen hypotheses."""
        cells = self.cells
        if cells is not None:
            cells = cells[:, chosen]

        logits = self.logits
        if logits is not None:
            logits = logits[chosen]

        return State(
            hidden=self.hidden[:, chosen],
            cells=cells,
            context=self.context[chosen],
            logits=logits,
        )


class SGM(EmotionModel):
    """The SGM model.

    Args:
        config: settings.
        dims: ``text`` -> width of its word vectors.
        num_labels: L.

    The buffer ``order`` holds the labels as they are written, the most frequent first.
    """

    sample_means = False  # the loss is a mean over tokens
    takes_unaligned = True
    order: Int64[Tensor, "labels"]

    def __init__(self, config: SGMConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.encoder = RecurrentEncoder(
            dims["text"],
            config.encoder_size,
            layers=config.encoder_layers,
            bidirectional=True,
            cell=config.cell,
            dropout=config.dropout,
        )
        self.decoder = Decoder(config, num_labels)
        self.register_buffer("order", torch.arange(num_labels))
        self._labels = slice(1, 1 + num_labels)  # among the outputs

        subsets = 0  # ordered ones
        for size in range(num_labels + 1):
            subsets += math.perm(num_labels, size)
        self._enumerable = subsets <= config.exact_limit

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The cross-entropy of the label sequence alone."""
        return {"sequence": 1.0}

    def prepare(self, statistics: LabelStatistics) -> None:
        """Order the labels by their frequency in training, ties by index."""
        found = torch.sort(statistics.counts, descending=True, stable=True).indices
        self.order.copy_(found)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the loss and, if asked, features.

        Features:
            ``encoder.text``: h, (B, T, d), 0 at masked steps.
            ``attention.text``: each label's attention to the words, (B, 1, L, T): the mean over
            the steps that may write it, weighted by their probability of doing so.
        """
        memory, state = self.encode(batch)

        logits = None
        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            targets = label_targets(batch.labels, self.order)  # (B, S)
            taught = self.teach(memory, state, targets)  # (B, S, V)
            losses["sequence"] = F.cross_entropy(
                taught.flatten(0, 1),
                targets.flatten(),
                ignore_index=IGNORED,
            )
            if self.training:  # nothing is decided by these logits, so they are cheap
                logits = taught[..., self._labels].amax(1)

        named: dict[str, Tensor] = {}
        if logits is None or features:
            held, mass, attention = self.score(memory, state, need_attention=features)
            if logits is None:
                total = mass[:, None].clamp(min=1e-30)
                shares = held / total
                logits = logit_of(shares)

            if attention is not None:
                named["encoder.text"] = memory.states
                named["attention.text"] = attention[:, None]
        return ModelOutput(logits, losses, named)

    def encode(self, batch: Batch) -> tuple[Memory, State]:
        """Read the words, h = BiLSTM(x), and start the decoder of each sample."""
        x = batch.values["text"]
        mask = batch.masks["text"]
        # DIVERGENCE (reversed_text): the program turns each text round
        turned = [1] if self.config.reversed_text else []
        states, hidden, cells = self.encoder(
            x.flip(turned),
            mask.flip(turned),
            cells=True,
        )
        states = states.flip(turned)
        states = states * mask[..., None]

        # DIVERGENCE (directions): the program adds them, and starts from the forward one
        if self.config.directions == "summed":
            ahead, back = states.chunk(2, -1)
            states = ahead + back

        start_hidden = self._start(hidden)
        start_cells = None
        if cells is not None:
            start_cells = self._start(cells)
        state = State(
            hidden=start_hidden,
            cells=start_cells,
            context=torch.zeros_like(states[:, 0]),
            logits=None,
        )

        memory = self.decoder.attention.remember(states, mask)
        return memory, state

    def _start(
        self, final: Float[Tensor, "layers directions batch size"]
    ) -> Float[Tensor, "started batch width"]:
        """Return what the layers of the decoder start from: (decoder layers, B, d)."""
        final = final[: self.config.decoder_layers]
        ahead = final[:, 0]
        if self.config.directions == "summed":
            return ahead

        back = final[:, 1]
        return torch.cat([ahead, back], -1)

    def teach(
        self, memory: Memory, state: State, targets: Int64[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length outputs"]:
        """Return the logits of every step after the right previous labels."""
        rows = len(targets)
        device = targets.device
        outputs = self.decoder.outputs
        sample = torch.arange(rows, device=device)  # one hypothesis each
        ids = torch.full_like(sample, self.decoder.begin)
        seen = torch.zeros(rows, outputs, dtype=torch.bool, device=device)

        steps = []
        for target in targets.unbind(1):
            # DIVERGENCE (mask_training): as printed, y_t = softmax(o_t + I_t) in training too
            banned = seen if self.config.mask_training else None
            logits, state, _ = self.decoder(
                memory,
                ids,
                state,
                sample,
                banned,
            )  # (B, V)
            steps.append(logits)

            # what follows the end is ignored
            ids = target.clamp(min=END)
            seen = seen.scatter(1, ids[:, None], True)

        return torch.stack(steps, 1)

    def score(
        self, memory: Memory, state: State, *, need_attention: bool = False
    ) -> tuple[
        Float[Tensor, "batch labels"],
        Float[Tensor, "batch"],
        Float[Tensor, "batch labels steps"] | None,
    ]:
        """Sum the probabilities of label sequences: see :func:`label_probabilities`."""
        width = None if self._enumerable else self.config.beam
        if is_exporting():
            levels = every_sequence(
                partial(self.decoder, memory),
                state,
                self._begin(memory),
                self.num_labels,
                least=self.config.least_prefix,
                width=width,
            )
            return label_probabilities(
                levels,
                memory.mask.shape[0],
                need_attention=need_attention,
            )

        held = []
        mass = []
        attention = []
        for first in range(0, len(memory.mask), SCORED_TOGETHER):
            part = memory.part(first, SCORED_TOGETHER)
            begin = self._begin(part)
            samples = len(begin)
            rows = first + torch.arange(samples, device=begin.device)
            levels = label_sequences(
                partial(self.decoder, part),
                state.rows(rows),
                begin,
                self.num_labels,
                least=self.config.least_prefix,
                width=width,
            )
            part_held, part_mass, part_attention = label_probabilities(
                levels,
                samples,
                need_attention=need_attention,
            )
            held.append(part_held)
            mass.append(part_mass)
            if part_attention is not None:
                attention.append(part_attention)

        if not attention:
            return torch.cat(held), torch.cat(mass), None
        return torch.cat(held), torch.cat(mass), torch.cat(attention)

    @torch.no_grad()
    def decode(self, batch: Batch) -> list[list[int]]:
        """Return each sample's most probable label sequence, as label indices, by beam search.

        With ``search="program"`` and a beam above 1, labels may repeat, as in the program.
        """
        config = self.config
        memory, state = self.encode(batch)
        # DIVERGENCE (search): the program's beams neither mask labels nor search to the end
        # DIVERGENCE (length_norm): the program ranks by log-probability per token
        found = beam_search(
            partial(self.decoder, memory),
            state,
            self._begin(memory),
            beam=config.beam,
            max_steps=config.max_steps or self.num_labels + 1,
            distinct=config.search == "masked" or config.beam == 1,
            length_norm=config.length_norm,
        )
        return [self._label_indices(tokens) for tokens in found]

    def _label_indices(self, tokens: list[int]) -> list[int]:
        """Return the labels among tokens; a program's beams write special tokens too."""
        return [token - 1 for token in tokens if 1 <= token <= self.num_labels]

    def _begin(self, memory: Memory) -> Int64[Tensor, "batch"]:
        """Return the token that begins a sequence, once per sample."""
        samples = memory.mask.shape[0]
        return torch.full((samples,), self.decoder.begin, device=memory.mask.device)


class Decoder(nn.Module):
    """One step: embedded label, recurrent cells, attention, logits."""

    def __init__(self, config: SGMConfig, num_labels: int) -> None:
        super().__init__()
        self.config = config
        k = config.label_size
        size = config.decoder_size

        self.begin = 1 + num_labels
        # DIVERGENCE (special_outputs): the program's outputs and averages include the begin,
        # padding and unknown tokens; here only what can follow
        self.outputs = num_labels + (4 if config.special_outputs else 1)
        tokens = max(self.outputs, num_labels + 2)  # the begin token is read, if not written
        self.embedding = nn.Embedding(tokens, k)

        if config.global_embedding != "off":
            # DIVERGENCE (gate): the paper's H = W1 e + W2 ē has neither sigmoid nor bias
            bias = config.gate == "sigmoid"
            self.gate_label = nn.Linear(k, k, bias=bias)
            self.gate_average = nn.Linear(k, k, bias=bias)

        width = k  # of what the recurrent layers read
        if config.global_embedding == "beside":
            width += k
        if config.feed_context:
            width += size

        recurrent = nn.LSTM if config.cell == "lstm" else nn.GRU
        layers = config.decoder_layers
        self.rnn = recurrent(
            width,
            size,
            layers,
            batch_first=True,
            dropout=config.dropout if layers > 1 else 0.0,
        )
        self.attention = Attention(config)
        self.output = nn.Linear(size, self.outputs)

    def read(self, ids: Int64[Tensor, "rows"], state: State) -> Float[Tensor, "rows width"]:
        """Embed the previous tokens: g(y_{t-1}), and c_{t-1} where it is fed."""
        label = self.embedding(ids)  # (N, k)
        x = self._mixed(label, state.logits)
        if self.config.global_embedding == "beside":
            x = torch.cat([label, x], 1)

        # DIVERGENCE (feed_context): s_t = LSTM(s_{t-1}, [g(y_{t-1}); c_{t-1}]) in the paper
        if self.config.feed_context:
            context = state.context.to(x.dtype)
            x = torch.cat([x, context], 1)

        return x

    def _mixed(
        self, label: Float[Tensor, "rows size"], logits: Float[Tensor, "rows outputs"] | None
    ) -> Float[Tensor, "rows size"]:
        """Global embedding: mix a label's embedding e with the average ē of all, by the gate H."""
        config = self.config
        # the first token is certain: nothing to average. DIVERGENCE (global_embedding): the program
        # starts from the mean embedding, and puts the mix beside the label's embedding
        first = logits is None
        if config.global_embedding == "off":
            return label
        if config.global_embedding == "mixed" and first:
            return label

        table = self.embedding.weight[: self.outputs]
        if logits is None:
            average = table.mean(0).expand_as(label)
        else:
            # DIVERGENCE (temperature): not in the paper
            tempered = logits / config.temperature
            average = tempered.softmax(-1) @ table

        gate = self.gate_label(label) + self.gate_average(average)
        if config.gate == "sigmoid":
            gate = gate.sigmoid()
        return gate * average + (1 - gate) * label

    def forward(
        self,
        memory: Memory,
        ids: Int64[Tensor, "rows"],
        state: State,
        sample: Int64[Tensor, "rows"],
        banned: Bool[Tensor, "rows outputs"] | None = None,
    ) -> tuple[Float[Tensor, "rows outputs"], State, Float[Tensor, "rows steps"]]:
        """Return the logits of the next token, the new state and the attention weights.

        Args:
            memory: of B samples.
            ids: (N,), previous tokens.
            state: before they are read.
            sample: (N,), the sample of each hypothesis, sorted.
            banned: (N, V), I_t: tokens that must not follow.
        """
        x = self.read(ids, state)
        before: tuple[Tensor, ...] = (state.hidden,)
        if state.cells is not None:
            before = (state.hidden, state.cells)

        out, after = run_layer(self.rnn, x[:, None], before)
        s = out[:, 0]  # (N, d)
        hidden = after[0]
        cells = None
        if state.cells is not None:
            cells = after[1]

        attended, context, weights = self.attention(s, sample, memory)
        logits = self.output(attended)  # (N, V)
        logits = logits.float()
        if banned is not None:
            logits = logits.masked_fill(banned, NEVER)

        new = State(hidden, cells, context, logits)
        return logits, new, weights


class Attention(nn.Module):
    """Contexts c of the states h, and the layer that reads them together with s."""

    def __init__(self, config: SGMConfig) -> None:
        super().__init__()
        self.config = config
        size = config.decoder_size
        rate = config.attention_dropout
        self.key: nn.Linear | None = None

        # DIVERGENCE (attention): printed v·tanh(W s + U h); in 2018 h·(W s), today h·selu(W selu(W'
        # s)) with dropout on scores, and likewise two SELU layers after it instead of tanh
        if config.attention == "selu":
            self.query = two_selu_layers(size, size, rate)
            self.combine = two_selu_layers(2 * size, size, rate)
            self.score_dropout = Dropout(rate)
            return

        self.query = nn.Sequential(nn.Linear(size, size))
        self.combine = nn.Sequential(
            nn.Linear(2 * size, size),
            nn.Tanh(),
            Dropout(rate),
        )
        if config.attention == "additive":
            self.key = nn.Linear(size, size, bias=False)
            self.score = nn.Linear(size, 1, bias=False)
        self.score_dropout = Dropout(0.0)

    def remember(
        self, states: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
    ) -> Memory:
        """Prepare encoder states (0 where masked) for being read many times."""
        keys = states
        if self.key is not None:
            keys = self.key(states)

        # DIVERGENCE (attend_to_padding): the program's softmax runs over padding too
        if self.config.attend_to_padding:
            mask = torch.ones_like(mask)
        return Memory(states, keys, mask)

    def forward(
        self, s: Float[Tensor, "rows size"], sample: Int64[Tensor, "rows"], memory: Memory
    ) -> tuple[Float[Tensor, "rows size"], Float[Tensor, "rows size"], Float[Tensor, "rows steps"]]:
        """Return what the output layer reads, the contexts and the attention weights.

        Args:
            s: (N, d), decoder states.
            sample: (N,), the sample of each, sorted.
            memory: of B samples.
        """
        samples = memory.mask.shape[0]
        query = self.query(s)  # (N, d)
        size = query.shape[1]

        # the rows of a sample side by side, so that its words are read once for all of them
        if is_exporting():
            # there all samples have as many
            grouped = query.reshape(samples, -1, size)
            rows = torch.arange(grouped.shape[1], device=s.device)
            slot = rows.expand(samples, -1).flatten()
        else:
            slot = number_within(sample, samples)
            most = int(slot.max()) + 1  # R, rows of the sample that has the most
            empty = query.new_zeros(samples, most, size)
            grouped = empty.index_put((sample, slot), query)  # (B, R, d)

        keys = memory.keys.to(query.dtype)
        scores = self._scores(grouped, keys)  # (B, R, T)
        scores = self.score_dropout(scores)
        weights = masked_softmax(scores, memory.mask)
        states = memory.states.to(weights.dtype)
        contexts = weights @ states  # (B, R, d)

        # back to one row per hypothesis
        context = contexts[sample, slot]  # (N, d)
        s = s.to(context.dtype)
        both = torch.cat([context, s], 1)
        return self.combine(both), context, weights[sample, slot]

    def _scores(
        self, query: Float[Tensor, "batch rows size"], keys: Float[Tensor, "batch steps size"]
    ) -> Float[Tensor, "batch rows steps"]:
        """Compare every decoder state of a sample with every word of it."""
        if self.config.attention != "additive":
            return query @ keys.transpose(1, 2)

        # in parts, since (B, R, T, d) may be large
        scores = []
        for part in torch.split(query, 32, 1):
            sums = part[:, :, None] + keys[:, None]  # (B, 32, T, d)
            inner = torch.tanh(sums)
            score = self.score(inner)  # (B, 32, T, 1)
            scores.append(score.squeeze(-1))

        return torch.cat(scores, 1)


def two_selu_layers(dim: int, size: int, rate: float) -> nn.Sequential:
    """Return the two layers that the program has before and after its attention."""
    return nn.Sequential(
        nn.Linear(dim, size),
        nn.SELU(),
        Dropout(rate),
        nn.Linear(size, size),
        nn.SELU(),
        Dropout(rate),
    )
