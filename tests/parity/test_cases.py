"""Every recorded case must agree, in everything that was recorded, and a wrong number is found."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotailor.models.table import SYSTEMS as MODELS
from tests.parity.__main__ import main
from tests.parity.case import Case
from tests.parity.systems import SYSTEMS, compare, module_of

TESTS = Path(__file__).parents[1]
SHARED = TESTS.parents[1] / "shared"
FILES = ("case.json", "io.safetensors", "weights.safetensors")


def case_folders(root: Path, pattern: str) -> list[str]:
    """The folders of all cases, relative to a root."""
    return sorted(str(file.parent.relative_to(root)) for file in root.glob(f"{pattern}/case.json"))


COMMITTED = case_folders(TESTS, "models/*/recorded/*")
RECORDED = case_folders(SHARED / "parity", "*/*")
WITHOUT_MODEL = ("models/tailor/recorded/metrics", "models/lddu/recorded/metrics")
"""Cases of the evaluation: they have no weights."""


def compared_names(case: Case) -> set[str]:
    """The entries that a comparison must hold."""
    return set(case.io) - module_of(case).aside(case)


def check(case: Case) -> None:
    """A case agrees, everything recorded is compared, and every option is known."""
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    names = [row[0] for row in comparison.rows]
    assert len(names) == len(set(names))
    assert set(names) >= compared_names(case)
    assert compared_names(case)
    assert comparison.notes == []


@pytest.mark.parametrize("folder", COMMITTED)
def test_committed_case_agrees(folder: str) -> None:
    check(Case.load(TESTS / folder))


@pytest.mark.parametrize("folder", RECORDED or ["absent"])
def test_recorded_case_agrees(shared_parity: Path, folder: str) -> None:
    case = Case.load(shared_parity / folder)
    if case.info["system"].lower() not in SYSTEMS:
        pytest.skip(f"no system of ours is {case.info['system']}")
    check(case)


def test_every_system_is_compared_in_a_plain_clone() -> None:
    """BR, LP and CC share the case of ``classic``; every other system has a folder of its own."""
    compared = {Path(folder).parts[1] for folder in COMMITTED}
    assert compared == set(SYSTEMS)
    classic = {"br", "lp", "cc"}
    published = {name for name in MODELS if name != "baseline"}
    assert len(published) == 15
    assert published - classic == compared - {"classic"}


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "classic"])
def test_outputs_losses_and_gradients_are_among_the_committed_numbers(system: str) -> None:
    names: set[str] = set()
    for folder in COMMITTED:
        if Path(folder).parts[1] == system:
            names |= compared_names(Case.load(TESTS / folder))
    assert any("logits" in name for name in names)
    assert any("loss" in name for name in names)
    assert any(name.startswith("grad") for name in names)


@pytest.mark.parametrize("folder", COMMITTED)
def test_committed_numbers_are_the_recorded_ones(shared_parity: Path, folder: str) -> None:
    _, system, _, name = Path(folder).parts
    whole = shared_parity / system / name
    kept = TESTS / folder
    info = json.loads((kept / "case.json").read_text(encoding="utf-8"))
    there = json.loads((whole / "case.json").read_text(encoding="utf-8"))
    left_out = info.pop("left_out")
    assert info == {key: there[key] for key in info}

    for file, missing in ((FILES[1], left_out), (FILES[2], [])):
        ours = load_file(kept / file)
        theirs = load_file(whole / file)
        assert sorted(set(theirs) - set(ours)) == missing
        assert all(x.dtype == theirs[key].dtype for key, x in ours.items())
        assert all(torch.equal(x, theirs[key]) for key, x in ours.items())


def altered(tensor: Tensor, index: int = 0) -> Tensor:
    """The tensor with one number off by a thousandth of the largest; by 1 where it counts."""
    changed = tensor.clone()
    if tensor.is_floating_point():
        changed.view(-1)[index] += 1e-3 * float(tensor.abs().max()) or 1e-3
    else:
        changed.view(-1)[index] += 1
    return changed


@pytest.mark.parametrize("folder", COMMITTED)
def test_every_wrong_expected_number_is_found(folder: str) -> None:
    case = Case.load(TESTS / folder)
    names = compared_names(case)
    wrong = case.changed(io={name: altered(case.io[name]) for name in names})
    found = {row[0] for row in compare(wrong).failures}
    assert found >= names


@pytest.mark.parametrize("folder", [folder for folder in COMMITTED if folder not in WITHOUT_MODEL])
def test_a_wrong_weight_is_found(folder: str) -> None:
    """A weight with a recorded gradient is off by a hundredth, where the gradient is largest."""
    case = Case.load(TESTS / folder)
    trained = {
        weight: gradient
        for weight in sorted(case.weights)
        for entry, gradient in case.io.items()
        if entry.startswith("grad") and entry.endswith(weight)
    }
    if not trained:  # a classic model has no gradients: its weights are numbers to be found
        trained = case.weights
    name = next(iter(trained))
    index = int(trained[name].abs().argmax())
    weight = case.weights[name].clone()
    weight.view(-1)[index] += 1e-2 * weight.abs().max()
    assert compare(case.changed(weights={name: weight})).failures


def test_the_command_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = TESTS / "models" / "simm" / "recorded" / "small_L2"
    assert main([str(source)]) == 0
    assert "0 differ" in capsys.readouterr().out

    for file in FILES:
        (tmp_path / file).write_bytes((source / file).read_bytes())
    tensors = load_file(source / "io.safetensors")
    tensors["logits"] = altered(tensors["logits"])
    save_file(tensors, tmp_path / "io.safetensors")
    assert main([str(tmp_path), str(source)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "FAIL" in line] == ["logits"]


def test_a_nan_and_a_wrong_shape_are_found() -> None:
    case = Case.load(TESTS / "models" / "simm" / "recorded" / "small_L2")
    changes = {"logits": case.io["logits"] * torch.nan, "shared": case.io["shared"][:, :-1]}
    failed = [row[0] for row in compare(case.changed(io=changes)).failures]
    assert "logits" in failed
    assert any(name.startswith("shared shape") for name in failed)


def test_an_entry_that_we_do_not_compute_is_found() -> None:
    case = Case.load(TESTS / "models" / "simm" / "recorded" / "small_L2")
    wrong = case.changed(io={"something_new": torch.zeros(1)})
    (failed,) = compare(wrong).failures
    assert failed[0].startswith("something_new")


def test_an_incomplete_case_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == 2


def test_an_unknown_system_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"system": "NOBODY", "config": {}}))
    for name in FILES[1:]:
        save_file({"x": torch.zeros(1)}, tmp_path / name)
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "'NOBODY'" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert main([]) == 2
