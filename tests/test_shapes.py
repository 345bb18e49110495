"""Modules built as shapes alone: no memory, nothing drawn, the compiler of PyTorch not loaded."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from emotailor.models.factory import build_model
from emotailor.models.table import SYSTEMS
from emotailor.shapes import shapes_alone
from tests.helpers import DIMS

BUILD_ALL = """
import json, sys
from emotailor.models.factory import build_model
from emotailor.models.table import SYSTEMS
from emotailor.shapes import shapes_alone

with shapes_alone():
    for name, row in SYSTEMS.items():
        build_model(name, row.preset("tuned"), {"visual": 3, "audio": 5, "text": 7}, 2)
        print(json.dumps([name, "torch._dynamo" in sys.modules]))
"""


def test_the_compiler_is_not_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD_ALL], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    loaded = [json.loads(line) for line in done.stdout.splitlines()]
    assert loaded == [[name, False] for name in SYSTEMS]


@pytest.mark.parametrize("name", SYSTEMS)
def test_shapes_are_those_of_a_model_with_parameters(name: str) -> None:
    settings = SYSTEMS[name].preset("tuned")
    model = build_model(name, settings, DIMS, 5)
    before = torch.get_rng_state()
    with shapes_alone():
        alone = build_model(name, settings, DIMS, 5)

    wanted = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in alone.state_dict().items()} == wanted
    assert all(value.is_meta for value in alone.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "draw",
    [
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.xavier_normal_,
        nn.init.kaiming_uniform_,
        nn.init.trunc_normal_,
        nn.init.orthogonal_,
        torch.Tensor.normal_,
    ],
)
def test_an_initialiser_returns_its_tensor(draw: object) -> None:
    assert callable(draw)
    with shapes_alone():
        x = torch.empty(3, 2)
        assert draw(x) is x


def test_the_unit_matrix_has_its_shape() -> None:
    with shapes_alone():
        assert torch.eye(3).shape == (3, 3)
        assert torch.eye(3, 5, dtype=torch.bool).shape == (3, 5)
        assert torch.eye(3, 5, dtype=torch.bool).dtype == torch.bool


def test_outside_is_as_before() -> None:
    with shapes_alone():
        pass
    assert nn.Linear(3, 2).weight.std() > 0
