"""The arithmetic of TAILOR, counted: multiplications and additions of its matrix products.

One multiply-add is two operations. Softmax, normalisation, dropout, GELU and the optimizer are not
counted, so a share of the machine's matrix-product rate says how much of the time went into
products. Products the model does not need (poolers, labels repeated per sample) are not counted
for any program: all are measured by the same useful work.
"""

from collections.abc import Mapping
from itertools import combinations

from emotailor.data.sample import Modality
from emotailor.models.tailor.config import TailorConfig


def forward_flops(
    config: TailorConfig,
    dims: Mapping[Modality, int],
    num_labels: int,
    batch: int,
    steps: int,
    *,
    losses: bool,
) -> int:
    """Count a forward pass over ``batch`` sequences of ``steps`` padded steps per modality.

    Args:
        config: the model's settings.
        dims: modality -> feature width.
        num_labels: L.
        batch: B.
        steps: T, with padding.
        losses: count the auxiliary losses too.
    """
    d, inner, labels = config.hidden_size, config.feedforward_size, num_labels
    layers = {"visual": config.visual_layers, "audio": config.audio_layers}
    layers["text"] = config.text_layers

    def linear(rows: int, width: int, out: int) -> int:
        return 2 * rows * width * out

    def attention(queries: int, keys: int) -> int:
        return 2 * 2 * batch * queries * keys * d  # scores, then weighted values

    def layer(n: int) -> int:
        projections = linear(batch * n, d, 4 * d)  # query, key, value, output
        return projections + attention(n, n) + 2 * linear(batch * n, d, inner)

    rows, total = batch * steps, 0
    for modality, dim in dims.items():
        total += linear(rows, dim, d) + layers[modality] * layer(steps)
        total += 2 * linear(rows, d, d)  # private extractor, common generator
    blocks = len(dims) + 1
    for length in range(2, blocks + 1):
        total += config.cross_layers * layer(length * steps)
    for depth in range(config.decoder_layers):
        states = 1 if depth == 0 else batch  # at first the labels are the same for every sample
        total += linear(states * labels, d, 4 * d) + states * 2 * 2 * labels * labels * d
        if depth == 0:  # few queries for all samples: the memory is never projected
            total += 2 * linear(labels, d, d)  # the queries, and W_k folded into them
            total += 2 * linear(batch * config.heads * labels, d, blocks * steps)
            total += linear(batch * labels, d, d)  # W_v of the weighted memory
        else:
            total += linear(states * labels, d, d) + linear(batch * blocks * steps, d, 2 * d)
            total += attention(labels, blocks * steps)
        total += linear(batch * labels, d, d)
        total += 2 * linear(batch * labels, d, inner)
    if config.classifier == "shared":
        total += linear(batch * labels, d, 1)
    if losses:
        hidden = d // 2
        total += (
            2
            * len(dims)
            * (
                linear(rows, d, len(dims))
                if config.discriminator == "linear"
                else linear(rows, d, hidden) + linear(rows, hidden, len(dims))
            )
        )
        pairs = len(dims)
        if config.orthogonality == "all_pairs":
            pairs += len(list(combinations(dims, 2)))
        overlap = 2 * rows * steps * d if d >= steps else 2 * 2 * rows * d * d
        total += pairs * overlap
        heads = 1 if config.common_semantics == "sum_first_step" else len(dims)
        total += heads * linear(batch, d, labels)
    return total


def training_flops(
    config: TailorConfig, dims: Mapping[Modality, int], num_labels: int, batch: int, steps: int
) -> int:
    """Count a training step: the backward pass costs two products for each one forward."""
    forward = forward_flops(config, dims, num_labels, batch, steps, losses=True)
    # raw features need no gradient, unless their normalisation has weights to learn
    unneeded = (
        0 if config.input_norm else 2 * batch * steps * sum(dims.values()) * config.hidden_size
    )
    return 3 * forward - unneeded
