"""The benchmarks run at a tiny size and write what they promise; times are never asserted."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    comparison,
    contrast,
    data,
    data_worker,
    encoding,
    explaining,
    inference,
    memory,
    scaling,
    systems,
    training_step,
)
from benchmarks.flops import forward_flops, training_flops
from benchmarks.reference_systems import REFERENCES
from benchmarks.reference_tailor import CHECKOUT
from benchmarks.report import best_rates, check_json, product_rates, spread
from benchmarks.specification import Lengths, Specification, draw_lengths
from benchmarks.subjects import OurFit, OurSystem, build
from benchmarks.worker import Worker, WorkerError, random_batch
from emotailor.errors import ConfigError
from emotailor.models.table import SYSTEMS, find_system
from emotailor.models.tailor.config import TailorConfig
from emotailor.verified import content_of
from tests.systems import TINY as TINY_SYSTEMS

SIZES = {
    "hidden_size": 8,
    "feedforward_size": 8,
    "heads": 2,
    "visual_layers": 1,
    "audio_layers": 1,
    "text_layers": 1,
    "cross_layers": 1,
    "max_steps": 11,
}
TINY = [part for key, value in SIZES.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("benchmarks.report.product_rates", lambda *_: {"fp32": 100.0, "bf16": 50.0})


def check_row(row: dict[str, Any], batch: int) -> None:
    assert len(row["seconds"]) == 2
    assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
    assert row["samples_per_second"] == pytest.approx(batch / row["seconds_per_step"])
    work = 2 * row["gflop_per_step"]
    assert row["gflop_per_second"] == pytest.approx(work / sum(row["seconds"]))
    assert row["share_of_product_rate"] == pytest.approx(row["gflop_per_second"] / 100)
    assert 50 * 2**20 < row["memory_built"] <= row["memory_peak"]
    assert row["reference"] is None


@pytest.mark.slow
def test_training_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "step.json"
    arguments = ["--batch", "3", "--repeats", "2", "--lengths", "mosei", "--json", str(file)]
    result = training_step.main([*TINY, *arguments])
    assert content_of(json.loads(file.read_text())) == result
    assert result["machine"]["torch"] == torch.__version__
    assert result["machine"]["threads"] >= 1
    names = [row["program"] for row in result["rows"]]
    assert names == ["ours (program)", "ours (paper)"]
    for row in result["rows"]:
        check_row(row, 3)
        # the four binary cross-entropies alone start at 0.69 x 1.5
        assert all(0.9 < loss < 2 for loss in row["losses"])
        assert all(sum(rows for rows, _ in shape) == 3 for shape in row["shapes"])
        assert all(1 <= steps <= 11 for shape in row["shapes"] for _, steps in shape)
    assert "of product rate" in capsys.readouterr().out


@pytest.mark.slow
def test_inference() -> None:
    arguments = ["--batch", "3", "--repeats", "2", "--lengths", "full"]
    rows = inference.main([*TINY, *arguments])["rows"]
    for row in rows:
        check_row(row, 3)
        assert row["shapes"] == [[[3, 11]], [[3, 11]]]
        assert row["losses"] is None


def test_programs() -> None:
    args = comparison.parse("", "train", ["--precision", "fp32", "bf16", "--threads", "3"])
    found = comparison.programs(args, "mosei")
    assert [(p.name, p.spec.precision) for p in found] == [
        ("ours (program)", "fp32"),
        ("ours (paper)", "fp32"),
        ("ours (program) bf16", "bf16"),
        ("ours (paper) bf16", "bf16"),
    ]
    for program in found:
        assert isinstance(program.spec.model, TailorConfig)
        assert program.spec.threads == 3
        assert not program.spec.model.pad_to_max_steps
    args.faces = ["program"]
    assert [p.name for p in comparison.programs(args, "full")][::2] == ["ours (program)"]
    assert comparison.programs(args, "full")[0].spec.model == TailorConfig.authors()


@pytest.mark.slow
def test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = data.run_child

    def run_child(request: dict[str, Any]) -> dict[str, Any]:
        # one real process is enough here
        return real(request) if request["kind"] == "write" else data_worker.measure(request)

    monkeypatch.setattr(data, "run_child", run_child)
    file = tmp_path / "data.json"
    folder = tmp_path / "work"
    folder.mkdir()
    arguments = ["--samples", "23", "--batch", "5", "--repeats", "1"]
    result = data.main([*arguments, "--folder", str(folder), "--json", str(file)])
    assert content_of(json.loads(file.read_text())) == result
    assert list(folder.iterdir()) == []  # nothing stays behind
    rows = {row["way"]: row for row in result["rows"]}
    assert list(rows) == ["ours", "ours, standardised", "padded file"]
    for row in rows.values():
        assert row["batches"] == 5
        assert 0 < row["open_seconds"] < row["first_batch_seconds"]
        assert row["memory_peak"] > 50 * 2**20
    # 60 steps of 409 float32 features each
    assert 23 * 60 * 409 * 4 < rows["padded file"]["file_bytes"] < 1.1 * 23 * 60 * 409 * 4
    assert rows["ours"]["file_bytes"] < rows["padded file"]["file_bytes"]


@pytest.mark.slow
def test_scaling(tmp_path: Path) -> None:
    file = tmp_path / "scaling.json"
    sizes = ["--batches", "2", "--steps", "13", "--batch", "3", "--run", "4", "--repeats", "1"]
    result = scaling.main([*TINY, *sizes, "--json", str(file)])
    assert content_of(json.loads(file.read_text())) == result
    varied = [(row["varied"], row["batch"], row["steps"]) for row in result["rows"]]
    assert varied == [("batch", 2, 13), ("steps", 3, 13)]
    assert result["growth"] == {"batch": None, "steps": None}
    assert result["run"]["count"] == 4


def test_growth() -> None:
    assert scaling.growth([2, 4, 8], [3.0, 12.0, 48.0]) == pytest.approx(2)
    assert scaling.growth([5, 5], [1.0, 2.0]) is None


@pytest.mark.parametrize("face", [TailorConfig.paper, TailorConfig.authors])
@pytest.mark.parametrize("size", [4, 16])  # below and above the steps
def test_flops_are_those_torch_counts(face: Any, size: int) -> None:
    changes = {**SIZES, "hidden_size": size, "feedforward_size": 6, "text_layers": 3}
    config = face().replace(**changes, decoder_layers=2)
    spec = Specification(model=config, num_labels=5)
    steps = 11 if config.pad_to_max_steps else 7
    program = OurSystem(spec, torch.device("cpu"))
    parts = program.prepare(random_batch(spec, [7, 5, 3], 0, labels=True))
    assert program.shapes(parts) == [(3, steps)]
    with FlopCounterMode(display=False) as counted:
        program.train_step(parts)
    assert counted.get_total_flops() == training_flops(config, spec.dims, 5, 3, steps)
    program.model.eval()
    math = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with math, FlopCounterMode(display=False) as counted:
        program.model(random_batch(spec, [7, 5, 3], 0, labels=False))
    forward = forward_flops(config, spec.dims, 5, 3, steps, losses=False)
    assert counted.get_total_flops() == forward


def test_our_parts_cover_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotailor.training.step.CPU_PART_STEPS", 12)
    spec = Specification(model=TailorConfig.paper().replace(**SIZES))
    program = OurSystem(spec, torch.device("cpu"))
    batch = random_batch(spec, [2, 5, 3, 6, 1], 0, labels=True)
    parts = program.prepare(batch)
    assert program.shapes(parts) == [(1, 6), (4, 5)]
    assert [list(part.ids) for part in parts] == [["3"], ["1", "2", "0", "4"]]
    for part in parts:
        for row, name in enumerate(part.ids):
            steps = int(part.masks["audio"][row].sum())
            kept = part.values["audio"][row, :steps]
            assert torch.equal(kept, batch.values["audio"][int(name), :steps])
            assert not batch.masks["audio"][int(name), steps:].any()


def test_lengths() -> None:
    assert draw_lengths("full", 3, 17, 0).tolist() == [17, 17, 17]
    drawn = draw_lengths("mosei", 20000, 60, 0)
    assert (drawn.min(), drawn.max()) == (1, 60)
    assert drawn.mean() == pytest.approx(19.6, abs=0.2)
    assert draw_lengths("mosei", 500, 20, 0).max() == 20


def test_chosen_batches_stand_for_the_epoch() -> None:
    few = [b.max() for b in comparison.choose_batches("mosei", "train", 64, 60, 5)]
    many = [b.max() for b in comparison.choose_batches("mosei", "train", 64, 60, 250)]
    assert few == sorted(few)
    assert np.mean(few) == pytest.approx(np.mean(many), abs=1.5)
    assert all(len(b) == 64 for b in comparison.choose_batches("mosei", "predict", 64, 60, 7))


def test_batches_are_the_same_in_every_process() -> None:
    spec = Specification()
    a, b = (random_batch(spec, [2, 5], 3, labels=True) for _ in range(2))
    assert all(torch.equal(a.values[m], b.values[m]) for m in spec.dims)
    assert a.labels is not None
    assert b.labels is not None
    assert torch.equal(a.labels, b.labels)
    assert random_batch(spec, [2], 3, labels=False).labels is None


def test_spread_and_rates() -> None:
    assert spread([3.0, 1.0, 7.0]) == {"median": 3.0, "min": 1.0, "max": 7.0}
    found = best_rates([{"fp32": 1.0, "bf16": 5.0}, {"fp32": 2.0, "bf16": 4.0}])
    assert found == {"fp32": 2.0, "bf16": 5.0}
    assert product_rates("cpu")["fp32"] > 0


def test_memory() -> None:
    now = memory.resident()
    assert now is None or 10 * 2**20 < now <= memory.peak()


def test_a_program_that_dies_is_one_message() -> None:
    with pytest.raises(WorkerError, match=r"exit code 1: .*sixty"):
        Worker(Specification(device="sixty"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "."], "holds no src/models/models.py"),
        (["--set", "hidden_sise=8"], "hidden_sise"),
        (["--set", "heads=3"], "multiple of heads"),
        (["--set", "heads"], "KEY=VALUE"),
        (["--device", "sixty"], "'sixty' is no device"),
        (["--json", "."], "cannot be written"),
        (["--json", "there/is/../.."], "cannot be written"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "compare", None)  # nothing may be measured
    with pytest.raises(ConfigError, match=message):
        training_step.main(arguments)


def test_mistakes_of_the_data_benchmark(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch 7"):
        data.main(["--samples", "5", "--batch", "7"])
    with pytest.raises(ConfigError, match="a folder that can be written"):
        data.main(["--folder", str(tmp_path / "absent")])
    with pytest.raises(ConfigError, match="GiB free"):
        data.main(["--samples", str(10**12), "--folder", str(tmp_path)])


def test_a_json_file_below_a_file_is_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        check_json(tmp_path / "file" / "x.json")
    check_json(tmp_path / "new" / "x.json")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_checkout(tmp_path: Path) -> None:
    for name in ("models", "optimization"):
        (tmp_path / "src/models").mkdir(parents=True, exist_ok=True)
        (tmp_path / "src/models" / f"{name}.py").write_text("")
    assert CHECKOUT.check(tmp_path) == tmp_path.resolve()
    assert str(tmp_path) not in sys.path  # looking at it runs nothing of it


FAKE_MULT = """
import os
import torch


class MULTModel(torch.nn.Module):
    def __init__(self, given):
        super().__init__()
        assert (given.orig_d_l, given.orig_d_a, given.orig_d_v) == (300, 74, 35)
        assert (given.layers, given.num_heads, given.attn_mask) == (5, 5, True)
        self.out = torch.nn.Linear(409, given.output_dim)

    def forward(self, text, audio, visual):
        assert text.shape[1:] == (50, 300)
        os.write(1, b"noise")
        return self.out(torch.cat([text, audio, visual], -1)[:, 0]), None
"""


def fake_mult(folder: Path) -> Path:
    """A checkout whose MulT is one linear map of the first step."""
    for name, text in {"src/models.py": FAKE_MULT, "modules/transformer.py": ""}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_a_system_beside_its_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "systems.json"
    sizes = ["--batch", "3", "--repeats", "2", "--lengths", "full", "--json", str(file)]
    result = systems.main(["--mult", str(fake_mult(tmp_path / "mult")), *sizes])
    assert content_of(json.loads(file.read_text())) == result
    assert result["settings"]["references"] == ["mult"]
    ours, theirs = result["rows"]
    assert [ours["program"], theirs["program"]] == ["ours (program)", "reference"]
    assert theirs["parameters"] == 6 * 410
    for row in (ours, theirs):
        assert row["system"] == "mult"
        assert len(row["seconds"]) == 2
        assert row["shapes"] == [[[3, 50]], [[3, 50]]]
        assert all(0 < loss < 3 for loss in row["losses"])
        assert row["samples_per_second"] == pytest.approx(3 / row["seconds_per_step"])
    assert theirs["reference"] == dict.fromkeys(theirs["reference"], 1.0)
    ratio = theirs["cpu_seconds_per_step"] / ours["cpu_seconds_per_step"]
    assert ours["reference"]["less_cpu"] == pytest.approx(ratio)
    assert "MulT" in capsys.readouterr().out


@pytest.mark.slow
def test_a_system_alone() -> None:
    arguments = ["--systems", "br", "--batch", "3", "--repeats", "1", "--lengths", "mosei"]
    (row,) = systems.main(arguments)["rows"]
    assert (row["system"], row["program"], row["losses"]) == ("br", "ours (paper)", [None])
    assert row["reference"] is None
    assert row["seconds_per_step"] > 0


def test_programs_of_systems(tmp_path: Path) -> None:
    folder = fake_mult(tmp_path)
    args = systems.parse(["--mult", str(folder), "--threads", "3"])
    assert args.systems == ["mult"]
    mult: Any = find_system("mult").config
    misa: Any = find_system("misa").config
    kinds: dict[Lengths, bool] = {"full": True, "mosei": False}
    for kind, attends in kinds.items():
        ours, theirs = (p.spec for p in systems.programs(args, "mult", kind))
        changed = mult.authors().replace(attend_to_padding=attends)
        assert ours.model == theirs.model == changed
        assert (ours.reference, theirs.reference) == (None, folder.resolve())
        assert ours.threads == theirs.threads == 3
        assert Specification.parse(json.loads(json.dumps(ours.to_json()))) == ours
    (alone,) = systems.programs(args, "misa", "full")
    assert alone.spec.model == misa.paper()
    assert systems.parse([]).systems == [name for name in SYSTEMS if name != "tailor"]
    assert systems.parse(["--systems", "br", "lp", "br"]).systems == ["br", "lp"]


@pytest.mark.filterwarnings("ignore::emotailor.data.checker.DataWarning")
@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "tailor"])
def test_every_system_takes_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotailor.training.step.CPU_PART_STEPS", 12)
    torch.manual_seed(0)
    spec = Specification(system=name, model=find_system(name).config.parse(TINY_SYSTEMS[name]))
    program = build(spec, torch.device("cpu"))
    inputs = program.prepare(random_batch(spec, [7, 5, 3, 2, 2, 4, 6, 3], 0, labels=True))
    assert sum(rows for rows, _ in program.shapes(inputs)) == 8
    before = {key: x.clone() for key, x in program.model.state_dict().items()}
    loss = program.train_step(inputs)
    changed = [key for key, x in program.model.state_dict().items() if not _same(before[key], x)]
    assert changed
    if isinstance(program, OurFit):
        assert loss is None
    else:
        assert 0 < loss < 100
        assert len(inputs) == (3 if program.model.sample_means else 1)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mult", "."], "--mult . holds no src/models.py"),
        (["--misa", "."], "checkout of declare-lab/MISA"),
        (["--mmsa", "."], "Graph_MFN.py"),
        (["--device", "sixty"], "'sixty' is no device"),
        (["--json", "."], "cannot be written"),
    ],
)
def test_mistakes_of_the_systems_benchmark(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(systems, "measure", None)  # nothing may be measured
    with pytest.raises(ConfigError, match=message):
        systems.main(arguments)


def test_a_checkout_that_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--mult beside --systems misa"):
        systems.parse(["--mult", str(fake_mult(tmp_path)), "--systems", "misa"])


def test_a_program_that_cannot_be_imported_is_one_message(tmp_path: Path) -> None:
    folder = fake_mult(tmp_path)
    (folder / "src/models.py").write_text("import no_such_package")
    model = find_system("mult").config.parse({})
    with pytest.raises(WorkerError, match="No module named 'no_such_package'"):
        Worker(Specification(system="mult", model=model, reference=folder))


def test_options_of_checkouts() -> None:
    found = {name: program.checkout.option for name, program in REFERENCES.items()}
    assert found == {"mult": "--mult", "misa": "--misa", "dfg": "--mmsa"}


def test_contrast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contrast.sizes_of("lddu") == contrast.Sizes(18, 256, 2.0, 8192, 0.14)
    assert contrast.sizes_of("carat") == contrast.Sizes(54, 64, 1.0, 8192, 0.07)
    small = contrast.Sizes(18, 16, 2.0, 150, 0.14)
    monkeypatch.setattr(contrast, "sizes_of", lambda _: small)
    file = tmp_path / "contrast.json"
    result = contrast.main(["--batch", "5", "--repeats", "2", "--json", str(file)])
    assert content_of(json.loads(file.read_text())) == result
    assert list(result["systems"]) == ["lddu", "carat"]
    row = result["systems"]["lddu"]
    assert (row["new_rows"], len(row["ours"]), len(row["full_cpu"])) == (90, 2, 2)
    assert row["ratio"] > 0
    assert row["gradient_apart"] < 1e-5
    assert row["loss_apart"] < 1e-5
    assert "in full" in capsys.readouterr().out


def test_explaining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TailorConfig(
        hidden_size=16, feedforward_size=24, heads=2, visual_layers=1, initial_std=0.1
    )
    monkeypatch.setattr(explaining, "TailorConfig", lambda **_: config)
    file = tmp_path / "explaining.json"
    result = explaining.main(["--utterances", "2", "--json", str(file)])
    row = result["models"]["TAILOR, paper"]
    assert set(row["ratios"]) == {"ours", "for a timeline"}
    assert [len(row["seconds"][way]) for way in explaining.WAYS] == [2, 2, 2]
    assert row["apart"] < 1e-5
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["models"] == result["models"]


def test_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "said.csv"
    table.write_text("text\nso great\n \na bad day\nyes\n")
    vectors = tmp_path / "hand.txt"
    vectors.write_text("so 1 2\ngreat 3 4\na 5 6\nbad 7 8\nyes 9 9\n")
    file = tmp_path / "encoding.json"
    options = ["--table", str(table), "--texts", "2", "--json", str(file)]
    result = encoding.main([*options, "--encoder", str(vectors)])
    assert content_of(json.loads(file.read_text())) == result
    row = result["encoders"][str(vectors)]
    assert (row["texts"], row["steps"]) == (2, 5)
    assert row["texts_a_second"] * row["seconds"] == pytest.approx(2)
    assert 50 < row["memory_mib"] < 20_000
    assert "hand.txt" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no column 'said'"):
        encoding.main([*options, "--column", "said"])
