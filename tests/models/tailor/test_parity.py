"""Every recorded case of TAILOR must agree, and what is not supported must say so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.parity.__main__ import compare, main
from tests.parity.case import Case

CASES = [
    "aligned_ones",
    "aligned_padded",
    "aligned_default_depth",
    "unaligned_ones",
    "ctc_module",
    "optimiser_steps",
    "metrics",
]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    comparison = compare(Case.load(shared_parity / "tailor" / name))
    assert comparison.rows
    assert comparison.failures == [], comparison.summary()


def test_every_case_is_tested(shared_parity: Path) -> None:
    there = {p.name for p in (shared_parity / "tailor").iterdir() if p.is_dir()}
    assert there == set(CASES)


@pytest.mark.parametrize("name", ["aligned_padded", "unaligned_ones", "ctc_module"])
def test_all_recorded_kinds_are_compared(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "tailor" / name)
    rows = {row[0] for row in compare(case).rows}
    assert rows == {name for name in case.io if not name.startswith("input/")}


def _altered(source: Path, target: Path, file: str, tensor: str) -> Path:
    """A copy of a case in which one number is off by a thousandth of the tensor's largest."""
    target.mkdir()
    for part in source.iterdir():
        (target / part.name).write_bytes(part.read_bytes())
    tensors = load_file(target / file)
    changed = tensors[tensor].clone()
    changed.view(-1)[0] += 1e-3 * changed.abs().max()
    save_file({**tensors, tensor: changed}, target / file)
    return target


@pytest.mark.parametrize(
    ("file", "tensor"),
    [
        ("io.safetensors", "logits"),
        ("io.safetensors", "grad_term/adv_common/common_feature_extractor.0.weight"),
        ("io.safetensors", "loss/diff/private_text_audio"),
        ("weights.safetensors", "pc_cross.embeddings.token_type_embeddings.weight"),
    ],
)
def test_a_small_difference_is_found(
    shared_parity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, tensor: str
) -> None:
    case = _altered(shared_parity / "tailor" / "aligned_ones", tmp_path / "case", file, tensor)
    assert main([str(case)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_an_incomplete_case_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert "not a complete parity case" in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == 2


def test_an_unknown_system_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"system": "NOBODY", "config": {}}))
    for name in ("io", "weights"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert main([str(tmp_path)]) == 2
    assert "'NOBODY' is not supported yet" in capsys.readouterr().err
