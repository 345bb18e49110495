"""The report of a data set, against numbers counted by hand."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from emotailor.data.dataset import EmotionDataset
from emotailor.data.inspect import DatasetReport, ModalityReport, inspect_dataset, render
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import DatasetWriter, open_dataset

DIMS: dict[Modality, int] = {"visual": 2, "audio": 3, "text": 5}


def sample(name: str, lengths: tuple[int, int, int], labels: list[int]) -> Sample:
    sequences = {
        m: np.ones((n, DIMS[m]), np.float32) for m, n in zip(DIMS, lengths, strict=True) if n
    }
    return Sample(name, sequences, np.array(labels, np.uint8))


SPLITS = {
    "train": [
        sample("a", (7, 0, 3), [1, 1, 0]),
        sample("b", (1, 11, 13), [1, 0, 0]),
        sample("c", (4, 0, 5), [0, 0, 0]),
        sample("d", (2, 5, 0), [1, 1, 1]),
    ],
    "test": [sample("e", (6, 8, 9), [0, 1, 0])],
}
LABELS = ("happy", "sad", "proud")


@pytest.fixture
def dataset() -> EmotionDataset:
    return EmotionDataset.from_samples(
        SPLITS, name="tiny", label_names=LABELS, dims=DIMS, aligned=False
    )


def text(report: DatasetReport, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(render(report))
    return out.getvalue()


def test_lengths_are_over_the_samples_that_have_the_modality(dataset: EmotionDataset) -> None:
    assert inspect_dataset(dataset).modalities == {
        "visual": ModalityReport(
            dim=2, present=5, missing=0.0, max_length=7, mean_length=4.0, median_length=4.0
        ),
        "audio": ModalityReport(
            dim=3, present=3, missing=0.4, max_length=11, mean_length=8.0, median_length=8.0
        ),
        "text": ModalityReport(
            dim=5, present=4, missing=0.2, max_length=13, mean_length=7.5, median_length=7.0
        ),
    }


def test_labels(dataset: EmotionDataset) -> None:
    report = inspect_dataset(dataset)
    assert (report.name, report.aligned, report.samples) == ("tiny", False, 5)
    assert report.cooccurrence == [[3, 2, 1], [2, 3, 1], [1, 1, 1]]
    assert report.labels_per_sample == [1, 2, 1, 1]
    train, test = report.splits["train"], report.splits["test"]
    assert (train.samples, test.samples) == (4, 1)
    assert train.label_counts == {"happy": 3, "sad": 2, "proud": 1}
    assert train.label_frequencies == {"happy": 0.75, "sad": 0.5, "proud": 0.25}
    assert train.labels_per_sample == [1, 1, 1, 1]
    assert (train.unlabelled, test.unlabelled) == (1, 0)
    assert (train.cardinality, test.cardinality) == (1.5, 1.0)
    assert train.missing == {"visual": 0.0, "audio": 0.5, "text": 0.25}


def test_a_stored_set_gives_the_same_report_and_its_repairs(
    dataset: EmotionDataset, tmp_path: Path
) -> None:
    with DatasetWriter(
        tmp_path / "set", name="tiny", label_names=LABELS, dims=DIMS, aligned=False, shard_bytes=99
    ) as writer:
        for split, samples in SPLITS.items():
            for one in samples:
                writer.add(split, one)
        writer.note("3 samples without text were left out [of 8]")
    report = inspect_dataset(open_dataset(tmp_path / "set"))
    assert report.notes == ["3 samples without text were left out [of 8]"]
    assert report.model_copy(update={"notes": []}) == inspect_dataset(dataset)
    assert "note: 3 samples without text were left out [of 8]" in text(report)


def test_a_report_survives_json(dataset: EmotionDataset) -> None:
    report = inspect_dataset(dataset)
    assert DatasetReport.model_validate(json.loads(report.model_dump_json())) == report


def test_no_samples() -> None:
    empty = EmotionDataset.from_samples(
        {"train": []}, name="empty", label_names=LABELS, dims={"text": 5}, aligned=True
    )
    report = inspect_dataset(empty)
    assert report.samples == 0
    assert report.labels_per_sample == [0, 0, 0, 0]
    assert report.splits["train"].label_frequencies == dict.fromkeys(LABELS, 0.0)
    assert "empty: 0 samples, aligned" in text(report)


def test_the_tables_show_the_numbers(dataset: EmotionDataset) -> None:
    shown = [line.split() for line in text(inspect_dataset(dataset)).splitlines()]
    assert ["audio", "3", "11", "8.0", "8", "40.0%"] in shown
    assert ["train", "4", "1.500", "1", "0.0%", "50.0%", "25.0%"] in shown
    assert ["happy", "3", "(75.0%)", "0", "(0.0%)"] in shown
    assert ["happy", "3", "2", "1"] in shown


def test_the_tables_fit_100_columns_whatever_the_names() -> None:
    many = [f"[bold]a label with a name that is far too long {i}" for i in range(17)]
    labels = np.zeros(17, np.uint8)
    labels[[3, 11]] = 1
    one = Sample("a", {"text": np.zeros((2, 5), np.float32)}, labels)
    for names in (many, many[:8]):
        wide = EmotionDataset.from_samples(
            {"train": [Sample(one.id, one.sequences, labels[: len(names)])]},
            name="[red]wide", label_names=names, dims={"text": 5}, aligned=True,
        )  # fmt: skip
        report = inspect_dataset(wide)
        shown = text(report)
        assert "[red]wide: 1 samples" in shown
        assert "[bold]a label" in shown
        assert max(map(len, shown.splitlines())) <= 100
    assert "pairs of labels seen most" in text(inspect_dataset(EmotionDataset.from_samples(
        {"train": [one]}, name="n", label_names=many, dims={"text": 5}, aligned=True
    )))  # fmt: skip
