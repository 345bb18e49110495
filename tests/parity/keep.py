"""``python -m tests.parity.keep CASE_DIR TARGET_DIR``: a case, small enough to be committed.

All weights, inputs, outputs and losses are kept. Where a case is large, larger intermediate results
and gradients are left out, and ``case.json`` names them under ``left_out``. Values
and types stay as they were recorded.
"""

import json
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.parity.case import Case
from tests.parity.systems import module_of

ROOM = 32 * 1024
"""Bytes of larger results; the inputs are kept anyway."""

SMALL = 512
"""Bytes of a small result: logits, predictions, a loss, the gradient of a bias."""

LISTS = ("io", "weights", "parameters", "unregistered_parameters", "unused_parameters")
"""Parts of ``case.json`` that list names and shapes, as the tensors themselves do."""


def bytes_of(tensor: Tensor) -> int:
    """The size of a tensor in memory."""
    return tensor.numel() * tensor.element_size()


def chosen(results: dict[str, Tensor]) -> set[str]:
    """The small results, and of each kind in turn the next larger one, as long as there is room."""
    kept = {name for name, tensor in results.items() if bytes_of(tensor) <= SMALL}
    kinds: dict[str, list[str]] = {}
    for name in sorted(set(results) - kept, key=lambda name: (bytes_of(results[name]), name)):
        kind = name.replace(".", "/").split("/")[0]
        kinds.setdefault(kind, []).append(name)

    room = ROOM
    while kinds:
        for kind, names in list(kinds.items()):
            name = names.pop(0)
            size = bytes_of(results[name])
            if size <= room:
                kept.add(name)
                room -= size
            if size > room or not names:
                del kinds[kind]
    return kept


def keep(source: Path, target: Path) -> None:
    """Write the part of a case that is committed."""
    case = Case.load(source)
    # as recorded: a loaded case is float64
    recorded = load_file(source / "io.safetensors")
    weights = load_file(source / "weights.safetensors")

    given = module_of(case).aside(case)
    results = {name: x for name, x in recorded.items() if name not in given}
    names = given | chosen(results)
    kept = {name: x for name, x in recorded.items() if name in names}
    info: dict[str, Any] = {name: x for name, x in case.info.items() if name not in LISTS}
    info["left_out"] = sorted(set(recorded) - names)

    target.mkdir(parents=True)
    text = json.dumps(info, indent=1, ensure_ascii=False)
    (target / "case.json").write_text(text + "\n", encoding="utf-8")
    save_file(kept, target / "io.safetensors")
    save_file(weights, target / "weights.safetensors")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
