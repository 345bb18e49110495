"""SGM beside the authors' program (lancopku/SGM), as rewritten in 2020 and as it was in 2018."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.models.sgm.config import SGMConfig
from emotailor.models.sgm.decoding import END, IGNORED, is_among, label_sequences, label_targets
from emotailor.models.sgm.model import SGM, Memory, State
from tests.parity.case import Case, CaseError, Comparison, Limits
from tests.parity.recurrent import block_name

TOLERANCE = 1e-5
SPECIAL = 4
"""Their first label id, after padding, unknown, begin and end."""
PADDING, UNKNOWN, BEGIN, STOP = range(SPECIAL)
"""Their special ids."""

DERIVED = 5
"""Label sequences whose exact probabilities are recorded."""


@dataclass(frozen=True)
class Ids:
    """The two numberings of the outputs.

    Attributes:
        theirs: their id of each of our tokens: end, labels, begin, padding, unknown.
        ours: our token of each of their ids.
    """

    theirs: list[int]
    ours: Tensor

    @classmethod
    def of(cls, labels: int) -> "Ids":
        """The numberings for a number of labels."""
        theirs = [STOP, *range(SPECIAL, SPECIAL + labels), BEGIN, PADDING, UNKNOWN]
        return cls(theirs, torch.tensor(theirs).argsort())

    @property
    def labels(self) -> int:
        """Number of labels."""
        return len(self.theirs) - SPECIAL


def ids_of(case: Case) -> Ids:
    """The numberings of a case."""
    return Ids.of(case.io["y"].shape[1])


@dataclass(frozen=True)
class Name:
    """One of their parameters: our name, and the way to our values and back."""

    ours: str
    to_ours: Callable[[Tensor], Tensor] = lambda x: x
    to_theirs: Callable[[Tensor], Tensor] = lambda x: x


def swap_halves(x: Tensor) -> Tensor:
    """Exchange the columns that read state and context."""
    return torch.cat(x.chunk(2, 1)[::-1], 1)


GATES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "decoder.ge_proj1": ("gate_label", torch.neg),  # this gate is our 1 - H
    "decoder.ge_proj2": ("gate_average", torch.neg),
    "decoder.gated1": ("gate_average", torch.clone),
    "decoder.gated2": ("gate_label", torch.clone),
}


def find_name(theirs: str, ids: Ids) -> Name:
    """Return what one of their parameters is here."""
    part, _, kind = theirs.rpartition(".")
    if part == "encoder.rnn":
        return Name(f"encoder.{block_name(kind)}")
    cell = re.fullmatch(r"decoder\.rnn\.layers\.(\d+)\.(\w+)", theirs)
    if cell:
        return Name(f"decoder.rnn.{cell[2]}_l{cell[1]}")
    if part in ("decoder.embedding", "decoder.linear"):
        ours = part.replace("linear", "output")
        return Name(f"{ours}.{kind}", lambda x: x[ids.theirs], lambda x: x[ids.ours])
    if part in GATES:
        ours, way = GATES[part]
        return Name(f"decoder.{ours}.{kind}", way, way)

    layer = re.fullmatch(r"decoder\.attention\.linear_(in|out)(?:\.(\d))?", part)
    if layer is None:
        raise CaseError(f"unknown weights {theirs}")
    place = "query" if layer[1] == "in" else "combine"
    ours = f"decoder.attention.{place}.{layer[2] or 0}.{kind}"
    swapped = (layer[1], layer[2], kind) == ("out", "0", "weight")
    return Name(ours, swap_halves, swap_halves) if swapped else Name(ours)


def is_2018(case: Case) -> bool:
    """Whether the case is of the program of the paper's time."""
    return case.options.only("version", "2018", "current", default="current") == "2018"


def config_of(case: Case) -> SGMConfig:
    """Their settings; of 2018: the default with the program's own ways."""
    options = case.options
    options.without_effect(
        "seed", "batch", "max_len", "grad_params", "tgt_vocab_size", "num_labels"
    )
    options.only("bidirectional", True, default=True)
    options.only("mask", True, default=True)  # of labels that were written, in decoding
    old = is_2018(case)
    with_global = options.only("global_emb", True, False)
    form = "mixed" if old else "beside"
    shared: dict[str, Any] = {
        "label_size": options.take("emb_size"),
        "least_prefix": 0.0,
        "global_embedding": form if with_global else "off",
        "beam": max(1, options.take("beam_size", 1)),
    }
    if old:
        layers = options.take("num_layers")
        options.without_effect("decoder_hidden_size")  # twice the encoder's
        return SGMConfig.paper().replace(
            encoder_size=options.take("encoder_hidden_size"),
            encoder_layers=layers,
            decoder_layers=layers,
            max_steps=options.take("max_tgt_len"),
            attend_to_padding=True,
            special_outputs=True,
            **shared,
        )
    options.only("attention", "luong_gate", default="luong_gate")
    return SGMConfig.authors().replace(
        encoder_size=options.take("hidden_size"),
        encoder_layers=options.take("enc_num_layers"),
        decoder_layers=options.take("dec_num_layers"),
        cell=options.only("cell", "lstm", "gru"),
        temperature=options.take("tau"),
        max_steps=options.take("max_time_step"),
        length_norm=options.only("length_norm", True, False),
        **shared,
    )


def build(case: Case) -> SGM:
    """Our model with their weights."""
    ids = ids_of(case)
    words = case.io["x"].shape[2]
    config = config_of(case)
    if config.cell == "gru" and config.encoder_layers > 1:
        raise CaseError(
            f"{case.path}: GRU with {config.encoder_layers} encoder layers is not supported; "
            "supported: one (with more, the program starts from states of the wrong layers)"
        )
    model = SGM(config, {"text": words}, ids.labels)
    state = {"order": model.order}
    for theirs, weight in case.weights.items():
        if not theirs.startswith("criterion."):
            name = find_name(theirs, ids)
            state[name.ours] = name.to_ours(weight)
    case.load_weights(model, state)
    return model.eval()


def read_batch(io: dict[str, Tensor]) -> Batch:
    """The recorded inputs as a batch, junk beyond the lengths included."""
    mask = torch.arange(io["x"].shape[1]) < io["lengths"][:, None]
    ids = [str(i) for i in range(len(mask))]
    return Batch({"text": io["x"].clone().requires_grad_()}, {"text": mask}, io["y"], ids)


def read_targets(theirs: Tensor, ids: Ids) -> Tensor:
    """Their target ids in our tokens, without the begin token."""
    return torch.where(theirs < 0, IGNORED, ids.ours[theirs.clamp(min=0)])[:, 1:]


def sets_of(sequences: Iterable[list[int]], labels: int) -> Tensor:
    """Sequences of label indices as 0/1."""
    rows = []
    for sequence in sequences:
        held = torch.tensor(sequence, dtype=torch.long)
        rows.append(torch.zeros(labels).index_fill(0, held, 1))
    return torch.stack(rows)


class DecoderRecord:
    """What happened in the decoder at every step.

    Args:
        model: the model.
        flip: from natural order of the words to the encoder's.
        ids: the numberings of the outputs.
    """

    def __init__(self, model: SGM, flip: Callable[[Tensor], Tensor], ids: Ids) -> None:
        self.kept: dict[str, list[Tensor]] = {}
        decoder = model.decoder
        self.handles = [
            self.hook(
                decoder.rnn, lambda i, o: {"rnn_input": i[0][:, 0], "rnn_output": o[0][:, 0]}
            ),
            self.hook(
                decoder.attention,
                lambda _, o: {"attn_output": o[0], "attn_weights": flip(o[2])},
            ),
            self.hook(decoder.output, lambda _, o: {"raw": o[:, ids.ours]}),
        ]
        if model.config.global_embedding != "off":
            self.handles += [
                self.hook(
                    decoder.gate_average, lambda i, o: {"ge_average": i[0], "average_part": o}
                ),
                self.hook(decoder.gate_label, lambda _, o: {"label_part": o}),
            ]

    def hook(self, module: nn.Module, read: Callable[[Any, Any], dict[str, Tensor]]) -> Any:
        """Keep what ``read`` takes from the inputs and the output of a module."""

        def keep(_: nn.Module, inputs: Any, output: Any) -> None:
            for name, x in read(inputs, output).items():
                self.kept.setdefault(name, []).append(x)

        return module.register_forward_hook(keep)

    def finish(self) -> dict[str, Tensor]:
        """Stop, and return what was kept, stacked over steps."""
        for handle in self.handles:
            handle.remove()
        found = {name: torch.stack(x) for name, x in self.kept.items()}
        if "label_part" in found:  # their gate weighs the label, ours the average
            parts = found.pop("label_part") + found.pop("average_part")
            found["ge_gate"] = 1 - parts.sigmoid()
        return found


def greedy(model: SGM, memory: Memory, state: State, steps: int) -> tuple[Tensor, Tensor]:
    """Write a fixed number of tokens, the ends of sequences too; (B, S) and logits (S, B, V)."""
    sample = torch.arange(len(memory.mask))
    ids = torch.full_like(sample, model.decoder.begin)
    written = sample[:, None][:, :0]
    logits = []
    for _ in range(steps):
        banned = is_among(written, model.decoder.outputs)
        found, state, _ = model.decoder(memory, ids, state, sample, banned)
        ids = found.argmax(1)
        written = torch.cat([written, ids[:, None]], 1)
        logits.append(found)
    return written, torch.stack(logits)


def ranking(model: SGM, memory: Memory, state: State, count: int) -> tuple[Tensor, Tensor]:
    """The most probable of all ordered subsets, in their ids, and their log-probabilities."""
    samples = len(memory.mask)
    labels = model.num_labels
    begin = torch.full((samples,), model.decoder.begin)
    found: list[list[tuple[float, list[int]]]] = [[] for _ in range(samples)]
    for level in label_sequences(partial(model.decoder, memory), state, begin, labels):
        ends = (level.log_probs + level.following[:, END]).tolist()
        for i, held, value in zip(level.sample, level.labels.tolist(), ends, strict=True):
            found[i].append((value, [SPECIAL + k for k in held] + [STOP]))
    subsets = sum(math.perm(labels, n) for n in range(labels + 1))
    assert {len(x) for x in found} == {subsets}

    best = [sorted(x, reverse=True)[:count] for x in found]
    ids = [[s + [PADDING] * (labels + 1 - len(s)) for _, s in x] for x in best]
    return torch.tensor(ids), torch.tensor([[value for value, _ in x] for x in best])


def aside(case: Case) -> set[str]:
    """The inputs, and the beam search of 2018.

    Its masks and its previous distributions stay with a slot of the beam, not with the hypothesis
    that moves to another one, so that a label may repeat. The defect is not imitated: a correct
    search need not give the same answer.
    """
    inputs = {"x", "lengths", "target_ids", "y"}
    if not is_2018(case):
        return inputs
    return inputs | {name for name in case.io if name.startswith("beam.")}


def compare(case: Case) -> Comparison:
    """Encoder, taught steps, loss, gradients, greedy and beam search, all ordered subsets."""
    found = gather(case, build(case))
    exact = [name for name in case.io if name.endswith(("ids", "labels", "position"))]
    return Comparison.of(case, found, aside(case), Limits(output=TOLERANCE, exact=exact))


def encoder_time(case: Case, config: SGMConfig) -> Callable[[Tensor], Tensor]:
    """The way from natural to encoder time and back, of (B, T) or (B, T, d)."""
    lengths = case.io["lengths"][:, None]
    time = torch.arange(case.io["x"].shape[1])
    turned = time + 0 * lengths
    if config.reversed_text:  # inside the length of each text
        turned = torch.where(time < lengths, lengths - 1 - time, time)

    def flip(x: Tensor) -> Tensor:
        index = turned if x.ndim == 2 else turned[..., None].expand(-1, -1, x.shape[-1])
        return x.gather(1, index)

    return flip


@dataclass(frozen=True)
class Run:
    """One case in the model: its words are encoded, its labels are to be written.

    Attributes:
        case: the recorded case.
        model: our model.
        ids: the numberings of the outputs.
        batch: the inputs.
        flip: from natural order of the words to the encoder's.
        memory: what the decoder reads.
        state: of the decoder, before its first step.
    """

    case: Case
    model: SGM
    ids: Ids
    batch: Batch
    flip: Callable[[Tensor], Tensor]
    memory: Memory
    state: State


def gather(case: Case, model: SGM) -> dict[str, Tensor]:
    """Every recorded entry, under the name it has in the case."""
    batch = read_batch(case.io)
    flip = encoder_time(case, model.config)
    memory, state, found = gather_encoder(case, model, batch, flip)
    run = Run(case, model, ids_of(case), batch, flip, memory, state)
    found |= gather_taught(run)
    with torch.no_grad():
        found |= gather_greedy(run)
        if "beam.ids" in case.io and not is_2018(case):
            found |= gather_beam(run)
        if "derived.label_marginals" in case.io:
            held, mass, _ = model.score(memory, state)
            ids, log_probabilities = ranking(model, memory, state, DERIVED)
            found |= {"derived.label_marginals": held, "derived.total_mass": mass}
            found |= {"derived.top5_ids": ids, "derived.top5_log_prob": log_probabilities}
    return found


def gather_encoder(
    case: Case, model: SGM, batch: Batch, flip: Callable[[Tensor], Tensor]
) -> tuple[Memory, State, dict[str, Tensor]]:
    """Encode; the states of the words, and the last ones of all layers."""
    ends: list[Tensor] = []  # of all layers, of which the decoder may start from fewer
    handle = model.encoder.register_forward_hook(lambda _, __, o: ends.extend(o[1:]))
    memory, state = model.encode(batch)
    handle.remove()

    found = {"encoder_outputs": flip(memory.states)}
    for name, start, end in zip("hc", (state.hidden, state.cells), ends, strict=True):
        if start is None:
            continue
        if model.config.directions == "summed":
            sides = end[:, 0]
        else:
            sides = torch.cat(list(end.unbind(1)), -1)
        found[f"encoder_state_{name}"] = torch.cat([start, sides[len(start) :]])

    # padding of the recorded case is a constant; ours is never read
    words = batch.values["text"]
    padding = case.io.get("x_encoder", words)
    found["x_encoder"] = torch.where(batch.masks["text"][..., None], flip(words), padding)
    return memory, state, found


def gather_taught(run: Run) -> dict[str, Tensor]:
    """The steps after the right labels, the loss and its gradients."""
    case = run.case
    model = run.model
    ids = run.ids
    targets = read_targets(case.io["target_ids"], ids)
    # all of them are in the labels' order
    assert torch.equal(label_targets(case.io["y"], model.order), targets)
    padding = int(ids.ours[PADDING])
    fed = targets.masked_fill(targets == IGNORED, padding)  # they go on with padding tokens
    record = DecoderRecord(model, run.flip, ids)
    logits = model.teach(run.memory, run.state, fed)
    seen = record.finish()

    each = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    loss = model(run.batch).losses["sequence"]
    found = {f"tf.{name}": value for name, value in seen.items()}
    found |= {"tf.logits": seen["raw"], "tf.token_loss": each.T, "tf.loss": loss}
    return found | gradients(case, model, loss, run.batch.values["text"])


def gather_greedy(run: Run) -> dict[str, Tensor]:
    """Greedy decoding with the label mask."""
    case = run.case
    model = run.model
    ids = run.ids
    record = DecoderRecord(model, run.flip, ids)
    written, masked = greedy(model, run.memory, run.state, case.io["greedy.ids"].shape[1])
    seen = record.finish()
    found = {f"greedy.{name}": value for name, value in seen.items()}
    found["greedy.ids"] = torch.tensor(ids.theirs)[written]
    found["greedy.logits_before_mask"] = seen["raw"]
    found["greedy.masked_distribution"] = masked.softmax(-1)[..., ids.ours]
    found["greedy.argmax_position"] = seen["attn_weights"].argmax(-1).T

    config = model.config
    model.config = config.replace(beam=1)
    found["greedy.labels"] = sets_of(model.decode(run.batch), ids.labels)
    model.config = config
    return found


def gather_beam(run: Run) -> dict[str, Tensor]:
    """The answers of beam search, and what the decoder does while it writes them."""
    case = run.case
    model = run.model
    ids = run.ids
    answers = model.decode(run.batch)
    length = max(case.io["beam.ids"].shape[1], *(len(a) + 1 for a in answers))
    targets = padded_targets(answers, length)
    record = DecoderRecord(model, run.flip, ids)
    logits = model.teach(run.memory, run.state, targets)
    seen = record.finish()

    real = targets != IGNORED
    tokens = targets.clamp(min=END)
    log_probs = logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1)
    return {
        "beam.ids": torch.where(real, torch.tensor(ids.theirs)[tokens], PADDING),
        "beam.labels": sets_of(answers, ids.labels),
        "beam.log_prob": (log_probs * real).sum(1),
        "beam.attn_weights": seen["attn_weights"].transpose(0, 1) * real[..., None],
    }


def gradients(case: Case, model: SGM, loss: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Gradients of the loss under their names."""
    ids = ids_of(case)
    recorded = [n for n in case.io if n.startswith("grad.") and n != "grad.x"]
    names = {n: find_name(n.removeprefix("grad."), ids) for n in recorded}
    wanted = [x, *(model.get_parameter(name.ours) for name in names.values())]
    of_x, *others = torch.autograd.grad(loss, wanted)
    found = {"grad.x": of_x}
    for (theirs, name), gradient in zip(names.items(), others, strict=True):
        found[theirs] = name.to_theirs(gradient)
    return found


def padded_targets(answers: list[list[int]], length: int) -> Tensor:
    """Our tokens of label sequences, with their ends."""
    rows = []
    for answer in answers:
        ended = [1 + k for k in answer] + [END]
        rows.append(ended + [IGNORED] * (length - len(ended)))
    return torch.tensor(rows)
