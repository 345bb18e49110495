"""Everything that reads what somebody else may have written, each with good input to start from."""

import json
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import opcodes
from tests.torture.mutations import (
    Mutation,
    bytes_changed,
    odd_value,
    of_suffix,
    pickle_changed,
    to_json,
    tree_changed,
)

Files = Mapping[str, bytes]
"""Name below a folder -> content."""


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        name: for the reader.
        share: how many of the inputs it gets, beside the shares of the others.
        seeds: makes good input in an empty folder.
        use: reads everything from a folder.
        damaged: ends of the names of the files that may be changed; all where it is empty.
        make: makes odd files itself; None: a file of the good input is changed.
        mutation: how it is changed; None: by the end of its name.
        parts: parts of the world that it begins with.
    """

    name: str
    share: float
    seeds: Callable[[Path], None]
    use: Callable[[Path], None]
    damaged: tuple[str, ...] = ()
    make: Callable[[Files, random.Random], Files] | None = None
    mutation: Mutation | None = None
    parts: tuple[str, ...] = ()

    @property
    def quick(self) -> bool:
        """Whether making its good input takes little time."""
        return not self.parts

    def odd(self, good: Files, drawn: random.Random) -> Files:
        """Return odd input."""
        if self.make is not None:
            return self.make(good, drawn)

        names = sorted(name for name in good if not self.damaged or name.endswith(self.damaged))
        return _one_changed(good, drawn.choice(names), drawn, self.mutation)


def _one_changed(
    good: Files, name: str, drawn: random.Random, mutation: Mutation | None = None
) -> Files:
    """Return the files with one of them changed: as its kind allows, else in its bytes."""
    chosen = mutation or of_suffix(Path(name))
    try:
        content = chosen(good[name], drawn)
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile):
        content = bytes_changed(good[name], drawn)
    return {**good, name: content}


def walk(value: Any, budget: int = 100_000) -> None:
    """Look at everything in what was read, as a program does that goes on with it."""
    import numpy as np

    waiting = [value]
    while waiting and budget:
        budget -= 1
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
        elif isinstance(item, np.ndarray):
            if item.dtype == object:
                waiting += item.ravel()[:1000].tolist()
            else:
                item[..., :1].tobytes()
                item.ravel()[-1:].tolist()
        else:
            str(item)[:100]


# ---------------------------------------------------------------------- readers of data


def _source(name: str, folder: Path) -> None:
    from tests.data.readers.sources import MAKERS

    source = MAKERS[name](folder)
    options = {key: Path(value).name for key, value in source.options.items()}
    (folder / "options").write_text(json.dumps(options))
    (folder / "path").write_text(source.path.relative_to(folder).as_posix())


def _legacy(folder: Path) -> None:
    import torch

    from tests.data.readers.sources import tailor_content

    torch.save(tailor_content(), folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "options").write_text("{}")
    (folder / "path").write_text("old.pt")


def _read(folder: Path) -> None:
    """Read a source to its last sample; a part of them is converted and opened again."""
    from emotailor.data.readers import ConvertOptions, detect, find_format, open_source
    from emotailor.data.readers.convert import convert

    options = json.loads((folder / "options").read_text())
    paths: Any = {key: folder / name for key, name in options.items()}
    path = folder / (folder / "path").read_text()

    chosen = find_format(detect(path))
    reading = open_source(path, chosen, ConvertOptions(**paths))
    for _, sample in reading.samples:
        for values in sample.sequences.values():
            float(values.sum())

    # whatever can be read must be told apart by what is stored, too
    dataset = convert(path, folder / "converted", **paths)
    for split in dataset.splits.values():
        for position in range(len(split)):
            split.sample(position)


def _labels(folder: Path) -> None:
    from emotailor.data.readers import ConvertOptions
    from emotailor.data.readers.joining.labels import read_label_table

    file = next(path for path in folder.iterdir() if path.suffix in {".csv", ".csd"})
    table = read_label_table(file, ConvertOptions())
    for segment in table.segments:
        table.find(segment.key)


def _label_csv(folder: Path) -> None:
    from tests.data.readers.sources import label_csv

    label_csv(folder / "segments.csv")


def _label_csd(folder: Path) -> None:
    import numpy as np

    from tests.data.readers.sources import SDK, write_csd

    values = np.array([[1, 0, 1.0, 0, 0, 0, 2 / 3]])
    entries = {"ann": (values, [(0, 2)]), "bob": (values, [(1, 2)])}
    names = {"dimension names": ["sentiment", *SDK]}
    write_csd(folder / "Labels.csd", "All Labels", entries, names)


def _folds_json(folder: Path) -> None:
    folds = {"train": ["ann"], "valid": ["bob"], "test": ["cy"]}
    (folder / "folds.json").write_text(json.dumps(folds))


def _folds_csv(folder: Path) -> None:
    (folder / "folds.csv").write_text("id,split\nann,train\nbob,valid\ncy,test\n")


def _folds(folder: Path) -> None:
    from emotailor.data.readers.csd import read_folds

    file = next(folder.glob("folds.*"))
    walk(read_folds(file))


def _pickle(folder: Path) -> None:
    import pickle

    from tests.data.readers.sources import mult_content

    content = mult_content()["valid"]
    (folder / "data.pkl").write_bytes(pickle.dumps(content, protocol=4))


def _unpickle(folder: Path) -> None:
    from emotailor.data.readers._pickle import load_pickle

    walk(load_pickle(folder / "data.pkl"))


def _by_grammar(_: Files, drawn: random.Random) -> Files:
    return {"data.pkl": opcodes.generate(drawn)}


def _check(folder: Path) -> None:
    opcodes.check(folder / "data.pkl")


def _sample_npz(folder: Path) -> None:
    import numpy as np

    arrays: Any = {name: np.ones((3, 5), np.float32) for name in ("visual", "audio", "text")}
    np.savez(folder / "one.npz", **arrays)


def _read_one(folder: Path) -> None:
    from emotailor.data.readers.account import Account
    from emotailor.data.readers.array_files import read_one

    read_one(folder / "one.npz", Account())


# ---------------------------------------------------------------------- what we store


def _world(part: str, folder: Path) -> None:
    """Copy a part of the world into a folder."""
    import shutil

    for path in sorted((_PARTS / part).iterdir()):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder / path.name)


_PARTS = Path()


def use_world(parts: Path) -> None:
    """Say where the parts of the world are."""
    global _PARTS  # noqa: PLW0603 - set once, before the workers are forked
    _PARTS = parts


def _dataset(folder: Path) -> None:
    """A data set with an attachment."""
    import numpy as np

    from emotailor.data.store import DatasetWriter
    from tests.helpers import DIMS, LABELS, random_samples

    place = folder / "stored"
    with DatasetWriter(
        place, name="small", label_names=LABELS, dims=DIMS, aligned=True, provenance={"a": 1}
    ) as writer:
        for k, split in enumerate(("train", "valid", "test")):
            for sample in random_samples(3, seed=k, prefix=split):
                writer.add(split, sample)
        writer.attach("truth", {"windows": np.zeros((2, 3), np.int64)})


def _open(folder: Path) -> None:
    from emotailor.data.inspect import inspect_dataset
    from emotailor.data.store import open_dataset, read_attachment, read_statistics

    place = folder / "stored"
    dataset = open_dataset(place)
    read_statistics(place)
    walk(read_attachment(place, "truth"))
    for split in dataset.splits.values():
        for position in range(len(split)):
            sample = split.sample(position)
            for values in sample.sequences.values():
                float(values.sum())
    inspect_dataset(dataset)


def _validate(folder: Path) -> None:
    from emotailor.data.validate import validate_dataset

    for problem in validate_dataset(folder / "stored"):
        str(problem)


def _settings(folder: Path) -> None:
    from tests.torture.world import SETTINGS

    (folder / "run.toml").write_text(SETTINGS)
    settings = {
        "system": "tailor",
        "data": {"path": "data"},
        "model": {"hidden_size": 12, "heads": 3, "dropout": 0.1},
        "training": {"epochs": 2, "learning_rate": 0.003, "device": "cpu", "seed": 5},
    }
    (folder / "run.json").write_text(json.dumps(settings))
    (folder / "set").write_text("model.hidden_size=128\ntraining.epochs=5")


def _configure(folder: Path) -> None:
    from emotailor.config import merge, parse_overrides, read_toml
    from emotailor.training.run_config import RunConfig

    base = {"data": {"path": "data"}}
    for name in ("run.toml", "run.json"):
        values = read_toml(folder / name)
        RunConfig.build(merge(base, values))

    lines = (folder / "set").read_bytes().decode("utf-8", "surrogateescape")
    RunConfig.build(merge(base, parse_overrides(lines.split("\n"))))


def _odd_settings(good: Files, drawn: random.Random) -> Files:
    """Return settings of which one file is odd."""
    name = drawn.choice(("run.toml", "run.json", "set"))
    if name != "set":
        return _one_changed(good, name, drawn)

    keys = ["model", "training", "data", "epochs", "seed", "hidden_size", "", "a", "path", "heads"]
    key = ".".join(drawn.choice(keys) for _ in range(drawn.randrange(1, 4)))
    value = to_json(odd_value(drawn)).decode("utf-8", "surrogateescape")
    if drawn.random() < 0.2:
        value = drawn.choice("[{\"'") * drawn.choice((1, 3, 500, 5000))
    text = f"{key}={value}".encode("utf-8", "surrogateescape")
    if drawn.random() < 0.3:
        text = bytes_changed(text, drawn)
    return {**good, name: text.replace(b"\x00", b"")}


def _resume(folder: Path) -> None:
    """Load a checkpoint into a model and its optimizer."""
    import torch

    from emotailor.training.checkpoint import load_checkpoint, read_progress

    read_progress(folder / "checkpoint")
    model = _tiny_model()
    optimizer = torch.optim.AdamW(model.parameters())
    load_checkpoint(folder / "checkpoint", {"model": model}, optimizer, torch.device("cpu"))


def _tiny_model() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


def _checkpoint(folder: Path) -> None:
    import torch

    from emotailor.training.checkpoint import Progress, save_checkpoint

    model = _tiny_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    progress = Progress(epoch=0, batch=2, step=3, sums={"bce": 1.5}, samples=7, seconds=0.5)
    save_checkpoint(
        folder / "checkpoint", progress, {"model": model}, optimizer, torch.device("cpu")
    )


def _load_model(folder: Path) -> None:
    from emotailor.runs.run import Run
    from emotailor.serving.predictor import Predictor

    Run.open(folder)
    Predictor.load(folder, device="cpu")


def _import(folder: Path) -> None:
    from emotailor.training.import_checkpoint import import_checkpoint

    import_checkpoint(folder / "authors.bin", folder / "imported", heads=2)


def _authors(folder: Path) -> None:
    import shutil

    shutil.copy2(_PARTS / "authors.bin", folder / "authors.bin")


def _run_files(folder: Path) -> None:
    """The small files of a run: its history, settings, evaluation, predictions, figures."""
    import shutil

    run = _PARTS / "shown"
    for name in ("config.json", "metrics.jsonl", "evaluation-test.json", "predictions-test.csv"):
        shutil.copy2(run / name, folder / name)
    (folder / "figures").mkdir()
    for file in (run / "figures").glob("*.json"):
        shutil.copy2(file, folder / "figures" / file.name)


def _read_run_files(folder: Path) -> None:
    from emotailor.figures.store import FigureFolder
    from emotailor.runs.stored import read_evaluation, read_predictions
    from emotailor.training.history import read_history
    from emotailor.training.stored_config import read_run_config

    read_history(folder)
    read_run_config(folder)
    read_evaluation(folder, "test")
    read_predictions(folder, "test")
    figures = FigureFolder(folder / "figures")
    figures.read_claims()
    for name in ("attention", "thresholds", "figure4-losses"):
        figures.read_numbers(name)
    figures.read_index()


def _table(folder: Path) -> None:
    import shutil

    shutil.copy2(_PARTS / "table" / "benchmark.json", folder / "benchmark.json")


def _read_table(folder: Path) -> None:
    from emotailor.comparison.results import read_benchmark
    from emotailor.report.benchmark import benchmark_sections

    read_benchmark(folder / "benchmark.json")
    benchmark_sections(folder)


def _rehashed(mutation: Mutation) -> Mutation:
    """Return a change after which a JSON file still carries the right hash of its content."""

    def changed(data: bytes, drawn: random.Random) -> bytes:
        from emotailor.files import write_json

        value = tree_changed(json.loads(data), drawn)
        if drawn.random() < 0.3 or not isinstance(value, dict):
            return mutation(data, drawn)
        value.pop("content_sha256", None)
        place = Path("rehashed.json")
        try:
            write_json(place, value)
        except (TypeError, ValueError, RecursionError):
            return mutation(data, drawn)
        return place.read_bytes()

    return changed


def _json_targets(good: Files, drawn: random.Random) -> Files:
    """Change one of the files; JSON gets the right hash again, so that the content is looked at."""
    name = drawn.choice(sorted(good))
    mutation = of_suffix(Path(name))
    if name.endswith(".json"):
        mutation = _rehashed(mutation)
    return _one_changed(good, name, drawn, mutation)


# ---------------------------------------------------------------------- all of them

_SOURCES = {
    "tailor": 0.7,
    "mult": 0.7,
    "mmsa": 0.7,
    "csd": 0.5,
    "table": 2.0,
    "npz": 2.0,
    "pom": 0.4,
}
"""Format -> share of its inputs: those whose reading takes long have fewer."""

TARGETS: tuple[Target, ...] = (
    *(
        Target(name, share, partial(_source, name), _read, (
            ".pt", ".pkl", ".csd", ".csv", ".npy", ".npz", ".h5", ".json"))
        for name, share in _SOURCES.items()
    ),
    Target("tailor (old torch)", 0.7, _legacy, _read, (".pt",), mutation=pickle_changed),
    Target("labels (CSV)", 8, _label_csv, _labels),
    Target("labels (csd)", 1, _label_csd, _labels),
    Target("folds (JSON)", 15, _folds_json, _folds),
    Target("folds (CSV)", 10, _folds_csv, _folds),
    Target("pickle", 25, _pickle, _unpickle),
    Target("pickle (by opcodes)", 25, _pickle, _check, make=_by_grammar),
    Target("sample (npz)", 8, _sample_npz, _read_one),
    Target("data set", 5, _dataset, _open, make=_json_targets),
    Target("data set (validate)", 1, _dataset, _validate, make=_json_targets),
    Target("settings", 8, _settings, _configure, make=_odd_settings),
    Target("checkpoint", 3, _checkpoint, _resume, make=_json_targets),
    Target("model folder", 0.2, lambda folder: _world("run/model", folder), _load_model,
           make=_json_targets, parts=("run",)),
    Target("import-checkpoint", 0.15, _authors, _import, parts=("authors.bin",)),
    Target("files of a run", 0.6, _run_files, _read_run_files, make=_json_targets,
           parts=("shown",)),
    Target("benchmark.json", 0.4, _table, _read_table, make=_json_targets, parts=("table",)),
)  # fmt: skip

BY_NAME = {target.name: target for target in TARGETS}
