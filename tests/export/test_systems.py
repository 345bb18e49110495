"""Every kind of system as a graph: ONNX Runtime gives what torch gives, at every shape.

What the suite has no time for is exported with EMOTAILOR_EVERY_EXPORT=1, as `make torture` does.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.data.batching import Batch
from emotailor.errors import ModelError
from emotailor.export.check import expected_of
from emotailor.export.onnx_model import OnnxModel, load_onnx
from emotailor.export.write import write_onnx
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.table import SYSTEMS
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.training.model_folder import LoadedModel
from tests.export.exports import tiny_loaded
from tests.helpers import holed_samples, random_samples

Case = tuple[str, bool, dict[str, Any]]

SUITE: dict[str, Case] = {
    # a Transformer for each modality, each of its own length
    "tailor, unaligned": ("tailor", False, {"common": "concatenate"}),
    # a recurrent layer in both directions
    "lsan": ("lsan", True, {}),
    # loops over steps
    "dfg": ("dfg", True, {"vertex_states": "cell"}),
    # a decoder, and all its label sequences; cells after the last step
    "sgm": ("sgm", False, {}),
    # double precision
    "cc": ("cc", True, {}),
}
EVERY: dict[str, Case] = {
    **{name: (name, True, {}) for name in SYSTEMS if name not in SUITE},
    "mult, unaligned": ("mult", False, {}),
    "sgm, beams": ("sgm", False, {"exact_limit": 1, "beam": 2, "least_prefix": 0.05}),
    "sgm, gru": ("sgm", False, {"cell": "gru", "special_outputs": True, "attention": "additive"}),
    "raven, word positions": ("raven", True, {"audio_norm": "word_position"}),
    **{f"tailor, {name}": ("tailor", True, dict(row.changes)) for name, row in ABLATIONS.items()},
}
CASES = {**SUITE, **(EVERY if os.environ.get("EMOTAILOR_EVERY_EXPORT") else {})}


@pytest.mark.parametrize("case", CASES)
def test_a_graph_gives_what_the_model_gives(case: str, tmp_path: Path) -> None:
    name, aligned, changes = CASES[case]
    loaded = tiny_loaded(name, aligned=aligned, **changes)
    samples = [*random_samples(9, seed=3, missing=0.4), *holed_samples(4, seed=2)]
    written = write_onnx(loaded, tmp_path / "model.onnx", samples)
    assert written.checked.batches == 6
    assert written.checked.samples == 13
    assert written.checked.difference < 1e-5

    read = load_onnx(tmp_path / "model.onnx")
    assert read.card == loaded.card
    assert isinstance(read.model, OnnxModel)
    for batch, steps, seed in ((1, 1, 0), (1, 11, 1), (5, 3, 2)):
        raw = _raw_batch(loaded, batch, steps, seed)
        expected = expected_of(loaded, raw)
        logits, probabilities = read.model.run(["logits", "probabilities"], raw.values, raw.masks)
        np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
        np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-4)


def _raw_batch(loaded: LoadedModel, batch: int, steps: int, seed: int) -> Batch:
    """Raw features with masks that have gaps, and a sample without its first modality."""
    torch.manual_seed(seed)
    values = {}
    masks = {}
    for k, (m, dim) in enumerate(loaded.model.dims.items()):
        own = steps if loaded.card.aligned else min(13, steps + k)
        mask = torch.rand(batch, own) < 0.6
        values[m] = torch.randn(batch, own, dim).masked_fill(~mask[..., None], torch.nan)
        masks[m] = mask
    if batch > 1:
        next(iter(masks.values()))[1] = False
    # torch reads what is masked as 0
    return Batch(values, masks, None, [str(k) for k in range(batch)])


def test_a_model_that_reads_words_is_refused(tmp_path: Path) -> None:
    from emotailor.shipped.find import shipped_folder
    from emotailor.training.model_folder import load_model

    loaded = load_model(shipped_folder())
    with pytest.raises(ModelError, match="reads words"):
        write_onnx(loaded, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_aligns_is_refused(tmp_path: Path) -> None:
    alignment = AlignmentConfig(kind="ctc", target_steps=13)
    loaded = tiny_loaded("simm", aligned=False, alignment=alignment)
    with pytest.raises(ModelError, match="aligns sequences"):
        write_onnx(loaded, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
