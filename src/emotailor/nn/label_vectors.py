"""One vector per label: a word vector of its name where the user gave one, else a trained one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotailor.errors import ModelError


class LabelVectors(nn.Module):
    """A table with a row per label.

    Args:
        num_labels: L, number of rows.
        size: E, width of the rows until word vectors are taken. Rows are drawn with an expected
            squared length of 1.
    """

    def __init__(self, num_labels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_labels, size))
        nn.init.normal_(self.weight, std=size**-0.5)

    @property
    def size(self) -> int:
        """E, the width of a row."""
        return self.weight.shape[1]

    def resize(self, size: int) -> None:
        """Change the width of the rows, which are zeros then."""
        self.weight = nn.Parameter(self.weight.new_zeros(len(self.weight), size))

    def take(self, vectors: Float[Tensor, "_ embedding"], *, train: bool) -> None:
        """Replace the rows, and their width, by word vectors.

        Args:
            vectors: (L, E).
            train: whether training changes them.

        Raises:
            ModelError: there is not one finite vector per label.
        """
        count = len(self.weight)
        finite = bool(vectors.isfinite().all())
        fits = vectors.ndim == 2 and len(vectors) == count
        if not (fits and finite):
            found = f"label vectors of the shape {tuple(vectors.shape)}"
            if not finite:
                found += ", not all finite"
            raise ModelError(
                found,
                expected=f"one finite vector for each of the {count} labels",
                fix="check the file given with data.label_vectors",
            )

        # copied, so that the rows stay a parameter and share no memory with what was given
        self.resize(vectors.shape[1])
        with torch.no_grad():
            self.weight.copy_(vectors)
        self.weight.requires_grad_(train)
