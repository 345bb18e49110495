"""One switch for every short cut that only saves time.

Some blocks compute the same thing in two ways: as its definition says, and faster. Whoever searches
for a bug in a loss wants the first, which a debugger can follow line by line:

    with plain_paths():
        loss = model.total_loss(model(batch))

What changes inside:
- dropout is ``torch.nn.functional.dropout``;
- attention is projections, scores, softmax, weighted sum, with the gradients of autograd;
- recurrent layers read one row after the other, its real steps alone;
- adapters of a text encoder add to its products, in evaluation too, instead of to its weights;
- losses form their products and matrices of pairs as their equations do;
- nothing is left out because only a part of it is needed.

Where nothing is drawn at random, both ways give the same numbers up to rounding. The random numbers
of dropout are others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_open: list[object] = []  # one for each context that is open, in any thread


def is_plain() -> bool:
    """Return whether blocks must compute the plain way."""
    return bool(_open)


@contextmanager
def plain_paths() -> Iterator[None]:
    """Make all blocks compute the plain way, in every thread, until the context is left.

    Contexts may be nested. A gradient is computed in the way of its forward pass.
    """
    context = object()
    _open.append(context)
    try:
        yield
    finally:
        _open.remove(context)
