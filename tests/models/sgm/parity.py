"""SGM beside the authors' program (lancopku/SGM), as rewritten in 2020 and as it was in 2018."""

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
from tests.parity.case import GRADIENT_TOLERANCE, Case, Comparison
from tests.parity.recurrent import block_name

TOLERANCE = 1e-5
LABELS = 6
THEIRS = [3, *range(4, 4 + LABELS), 2, 0, 1]
"""Their ids of our tokens: end, labels, begin, padding, unknown."""
OURS = torch.tensor(THEIRS).argsort()
"""Our tokens of their ids."""
DEFECTS = {("v2018_noge", "beam.ids"): "its masks stay with a slot of the beam: a label repeats"}
"""(case, entry) -> why it is not a target: it documents a defect that is not imitated."""
INPUTS = ("x", "lengths", "target_ids", "y")


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


def find_name(theirs: str) -> Name:
    """Return what one of their parameters is here."""
    part, _, kind = theirs.rpartition(".")
    if theirs.startswith("encoder."):
        assert part == "encoder.rnn", theirs
        return Name(f"encoder.{block_name(kind)}")
    if cell := re.fullmatch(r"decoder\.rnn\.layers\.(\d+)\.(\w+)", theirs):
        return Name(f"decoder.rnn.{cell[2]}_l{cell[1]}")
    if part in ("decoder.embedding", "decoder.linear"):
        ours = part.replace("linear", "output")
        return Name(f"{ours}.{kind}", lambda x: x[THEIRS], lambda x: x[OURS])
    if part in GATES:
        ours, way = GATES[part]
        return Name(f"decoder.{ours}.{kind}", way, way)
    layer = re.fullmatch(r"decoder\.attention\.linear_(in|out)(?:\.(\d))?", part)
    assert layer, theirs
    ours = f"decoder.attention.{'query' if layer[1] == 'in' else 'combine'}.{layer[2] or 0}.{kind}"
    swapped = (layer[1], layer[2], kind) == ("out", "0", "weight")
    return Name(ours, swap_halves, swap_halves) if swapped else Name(ours)


def config_of(case: Case) -> SGMConfig:
    """Their settings; of 2018: the default with the program's own ways."""
    c = case.info["config"]
    form = "mixed" if c.get("version") == "2018" else "beside"
    shared: dict[str, Any] = {
        "label_size": c["emb_size"],
        "least_prefix": 0.0,
        "global_embedding": form if c["global_emb"] else "off",
    }
    if c.get("version") == "2018":
        return SGMConfig.paper().replace(
            encoder_size=c["encoder_hidden_size"],
            encoder_layers=c["num_layers"],
            decoder_layers=c["num_layers"],
            max_steps=c["max_tgt_len"],
            beam=c["beam_size"],
            attend_to_padding=True,
            special_outputs=True,
            **shared,
        )
    return SGMConfig.authors().replace(
        encoder_size=c["hidden_size"],
        encoder_layers=c["enc_num_layers"],
        decoder_layers=c["dec_num_layers"],
        cell=c["cell"],
        temperature=c["tau"],
        max_steps=c["max_time_step"],
        length_norm=c["length_norm"],
        beam=max(1, c["beam_size"]),
        **shared,
    )


def build(case: Case) -> SGM:
    """Our model with their weights."""
    model = SGM(config_of(case), {"text": case.info["config"]["emb_size"]}, LABELS)
    named = {find_name(n): x for n, x in case.weights.items() if not n.startswith("criterion.")}
    model.load_state_dict(
        {"order": model.order} | {n.ours: n.to_ours(x) for n, x in named.items()}, strict=True
    )
    return model.eval()


def read_batch(io: dict[str, Tensor]) -> Batch:
    """The recorded inputs as a batch, junk beyond the lengths included."""
    mask = torch.arange(io["x"].shape[1]) < io["lengths"][:, None]
    ids = [str(i) for i in range(len(mask))]
    return Batch({"text": io["x"].clone().requires_grad_()}, {"text": mask}, io["y"], ids)


def read_targets(ids: Tensor) -> Tensor:
    """Their target ids in our tokens, without the begin token."""
    return torch.where(ids < 0, IGNORED, OURS[ids.clamp(min=0)])[:, 1:]


def sets_of(sequences: Iterable[list[int]]) -> Tensor:
    """Sequences of label indices as 0/1."""
    return torch.stack([torch.zeros(LABELS).index_fill(0, torch.tensor(s, dtype=torch.long), 1)
                        for s in sequences])  # fmt: skip


def record(
    model: SGM, flip: Callable[[Tensor], Tensor], run: Callable[[], Any]
) -> tuple[Any, dict[str, Tensor]]:
    """Run, and return with its result what happened in the decoder, stacked over steps."""
    kept: dict[str, list[Tensor]] = {}

    def hook(module: nn.Module, read: Callable[[Any, Any], dict[str, Tensor]]) -> Any:
        def keep(_: nn.Module, inputs: Any, output: Any) -> None:
            for name, x in read(inputs, output).items():
                kept.setdefault(name, []).append(x)

        return module.register_forward_hook(keep)

    decoder = model.decoder
    handles = [
        hook(decoder.rnn, lambda i, o: {"rnn_input": i[0][:, 0], "rnn_output": o[0][:, 0]}),
        hook(decoder.attention, lambda _, o: {"attn_output": o[0], "attn_weights": flip(o[2])}),
        hook(decoder.output, lambda _, o: {"raw": o[:, OURS]}),
    ]
    if model.config.global_embedding != "off":
        handles += [
            hook(decoder.gate_average, lambda i, o: {"ge_average": i[0], "average_part": o}),
            hook(decoder.gate_label, lambda _, o: {"label_part": o}),
        ]
    result = run()
    for handle in handles:
        handle.remove()
    found = {name: torch.stack(x) for name, x in kept.items()}
    if "label_part" in found:  # their gate weighs the label, ours the average
        found["ge_gate"] = 1 - (found.pop("label_part") + found.pop("average_part")).sigmoid()
    return result, found


def greedy(model: SGM, memory: Memory, state: State, steps: int) -> tuple[Tensor, Tensor]:
    """Write a fixed number of tokens, the ends of sequences too; (B, S) and logits (S, B, V)."""
    sample = torch.arange(len(memory.mask))
    ids, written, logits = torch.full_like(sample, model.decoder.begin), sample[:, None][:, :0], []
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
    begin = torch.full((samples,), model.decoder.begin)
    found: list[list[tuple[float, list[int]]]] = [[] for _ in range(samples)]
    for level in label_sequences(partial(model.decoder, memory), state, begin, LABELS):
        ends = (level.log_probs + level.following[:, END]).tolist()
        for i, labels, value in zip(level.sample, level.labels.tolist(), ends, strict=True):
            found[i].append((value, [4 + k for k in labels] + [3]))
    assert {len(x) for x in found} == {1957}
    best = [sorted(x, reverse=True)[:count] for x in found]
    ids = [[s + [0] * (LABELS + 1 - len(s)) for _, s in x] for x in best]
    return torch.tensor(ids), torch.tensor([[value for value, _ in x] for x in best])


def compare(case: Case) -> Comparison:
    """Encoder, taught steps, loss, gradients, greedy and beam search, all ordered subsets."""
    io, model, comparison = case.io, build(case), Comparison()
    for name, found in gather(case, model).items():
        if name in io and (case.path.name, name) not in DEFECTS:
            limit = GRADIENT_TOLERANCE if name.startswith("grad.") else TOLERANCE
            exact = name.endswith(("ids", "labels", "position"))
            comparison.add(name, found, io[name], 0.0 if exact else limit)
    done = {row[0] for row in comparison.rows}
    for name in io:
        aside = name in INPUTS or (case.path.name, name) in DEFECTS
        if not aside and name not in done and not any(d.startswith(f"{name} ") for d in done):
            comparison.missing(name)
    return comparison


def gather(case: Case, model: SGM) -> dict[str, Tensor]:
    """Every recorded entry, under the name it has in the case."""
    io, config, batch = case.io, model.config, read_batch(case.io)
    lengths, t = io["lengths"][:, None], torch.arange(io["x"].shape[1])
    turned = (
        torch.where(t < lengths, lengths - 1 - t, t) if config.reversed_text else t + 0 * lengths
    )

    def flip(x: Tensor) -> Tensor:
        """Natural to encoder time and back, (B, T) or (B, T, d)."""
        index = turned if x.ndim == 2 else turned[..., None].expand(-1, -1, x.shape[-1])
        return x.gather(1, index)

    ends: list[Tensor] = []  # of all layers, of which the decoder may start from fewer
    handle = model.encoder.register_forward_hook(lambda _, __, o: ends.extend(o[1:]))
    memory, state = model.encode(batch)
    handle.remove()
    found = {"encoder_outputs": flip(memory.states)}
    for name, start, end in zip("hc", (state.hidden, state.cells), ends, strict=True):
        if start is not None:
            sides = (
                end[:, 0] if config.directions == "summed" else torch.cat(list(end.unbind(1)), -1)
            )
            found[f"encoder_state_{name}"] = torch.cat([start, sides[len(start) :]])
    x = batch.values["text"]
    # padding of the recorded case is a constant; ours is never read
    found["x_encoder"] = torch.where((t < lengths)[..., None], flip(x), io.get("x_encoder", x))

    targets = read_targets(io["target_ids"])
    fed = targets.masked_fill(targets == IGNORED, int(OURS[0]))  # they go on with padding tokens
    logits, seen = record(model, flip, lambda: model.teach(memory, state, fed))
    tokens = F.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    assert torch.equal(
        label_targets(io["y"], model.order), targets
    )  # all of them are in the labels' order
    loss = model(batch).losses["sequence"]
    found |= {f"tf.{name}": value for name, value in seen.items()}
    found |= {"tf.logits": seen["raw"], "tf.token_loss": tokens.T, "tf.loss": loss}
    found |= gradients(case, model, loss, x)

    with torch.no_grad():
        count = io["greedy.ids"].shape[1]
        (ids, masked), seen = record(model, flip, lambda: greedy(model, memory, state, count))
        found |= {f"greedy.{name}": value for name, value in seen.items()}
        found["greedy.ids"] = torch.tensor(THEIRS)[ids]
        found["greedy.logits_before_mask"] = seen["raw"]
        found["greedy.masked_distribution"] = masked.softmax(-1)[..., OURS]
        found["greedy.argmax_position"] = seen["attn_weights"].argmax(-1).T
        model.config = config.replace(beam=1)
        found["greedy.labels"] = sets_of(model.decode(batch))
        model.config = config
        if "beam.ids" in io:
            answers = model.decode(batch)
            targets = padded_targets(answers, io["beam.ids"].shape[1])
            logits, seen = record(model, flip, lambda: model.teach(memory, state, targets))
            found |= beam(answers, targets, logits, seen["attn_weights"])
        if "derived.label_marginals" in io:
            held, mass, _ = model.score(memory, state)
            found |= {"derived.label_marginals": held, "derived.total_mass": mass}
            best = ranking(model, memory, state, 5)
            found |= dict(zip(("derived.top5_ids", "derived.top5_log_prob"), best, strict=True))
    return found


def gradients(case: Case, model: SGM, loss: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Gradients of the loss under their names."""
    names = [n for n in case.io if n.startswith("grad.") and n != "grad.x"]
    ours = [find_name(n.removeprefix("grad.")) for n in names]
    inputs = [x, *(model.get_parameter(o.ours) for o in ours)]
    found = torch.autograd.grad(loss, inputs)
    back = {n: o.to_theirs(g) for n, o, g in zip(names, ours, found[1:], strict=True)}
    return {"grad.x": found[0], **back}


def padded_targets(answers: list[list[int]], length: int) -> Tensor:
    """Our tokens of label sequences, with their ends."""
    rows = [[1 + k for k in a] + [END] + [IGNORED] * (length - len(a) - 1) for a in answers]
    return torch.tensor(rows)


def beam(
    answers: list[list[int]], targets: Tensor, logits: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """The answers of beam search, and what the decoder does while it writes them."""
    real, tokens = targets != IGNORED, targets.clamp(min=END)
    log_probs = logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1)
    return {
        "beam.ids": torch.where(real, torch.tensor(THEIRS)[tokens], 0),
        "beam.labels": sets_of(answers),
        "beam.log_prob": (log_probs * real).sum(1),
        "beam.attn_weights": weights.transpose(0, 1) * real[..., None],
    }
