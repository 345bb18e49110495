"""Small files in the layouts that people have, with one sample value traceable to each place."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotailor.data.sample import Modality

DIMS: dict[Modality, int] = {"visual": 3, "audio": 5, "text": 7}
STEPS = 11
COUNTS = {"train": 2, "valid": 1, "test": 2}
SDK = ("happy", "sad", "anger", "surprise", "disgust", "fear")


@dataclass
class Source:
    """A source to convert, the options it needs, and the file in it that tests damage."""

    path: Path
    damage: Path
    options: dict[str, Any] = field(default_factory=dict)


class Evil:
    """Creates a file if it is ever unpickled in earnest."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def features(m: Modality, count: int, steps: int = STEPS, fill: float | None = None) -> np.ndarray:
    """Values that differ everywhere: sample + step / 100 + feature / 10000, all above 1."""
    n, t, d = np.indices((count, steps, DIMS[m]))
    values = (1 + n + t / 100 + d / 10000).astype(np.float32)
    return values if fill is None else np.full_like(values, fill)


def widened(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[..., :1]], axis=-1)


def label_csv(path: Path) -> Path:
    """Five segments of three videos: ann[0..1] train, bob[3] valid, cy[0..1] test."""
    rows = [
        ("ann", 0, 0.5, 2.25, 1.0, 0, 0, 2.0, 0, 0),
        ("ann", 1, 2.25, 4.0, 0, 1.0, 0, 0, 0, 0),
        ("bob", 3, 10.0, 12.5, 0, 0, 0, 0.5, 0, 1 / 3),
        ("cy", 0, 0.0, 1.0, 0, 0, 0, 0, 0, 0),
        ("cy", 1, 1.0, 2.0, 3.0, 0, 0, 0, 1.0, 0),
    ]
    split = {"ann": "train", "bob": "valid", "cy": "test"}
    head = f"id,segment_id,start,end,{','.join(SDK)},key,split"
    lines = [",".join(map(str, r)) + f",{r[0]}[{r[1]}],{split[r[0]]}" for r in rows]
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


IDS = {"train": ["ann", "ann"], "valid": ["bob"], "test": ["cy", "cy"]}
CLIPS = {"train": [0, 1], "valid": [3], "test": [0, 1]}
TIMES: dict[str, list[tuple[float, float]]] = {
    "train": [(0.5, 2.25), (2.25, 4.0)], "valid": [(10.0, 12.5)], "test": [(0, 1), (1, 2)],
}  # fmt: skip


def tailor_content(
    fill: float | None = None, steps: dict[str, int] | None = None
) -> dict[str, Any]:
    targets = {"train": [[2, 4, 7, 3], [2, 5, 3]], "valid": [[2, 3]], "test": [[2, 9, 6, 3]] * 2}
    return {
        s: {f"src-{m}": features(m, n, (steps or {}).get(m, STEPS), fill) for m in DIMS}
        | {"tgt": targets[s]}
        for s, n in COUNTS.items()
    }


def tailor(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    import torch

    content = tailor_content(fill)
    if wide:
        content["valid"]["src-audio"] = widened(content["valid"]["src-audio"])
    path = folder / "train_valid_test.pt"
    torch.save(content, path)
    return Source(path, path)


def mult_content(fill: float | None = None) -> dict[str, Any]:
    return {
        s: {
            "vision": features("visual", n, fill=fill),
            "audio": features("audio", n, fill=fill),
            "text": features("text", n, fill=fill),
            "labels": np.zeros((n, 1, 1), np.float32),
            "id": np.array(
                [[v, str(a), str(b)] for v, (a, b) in zip(IDS[s], TIMES[s], strict=True)]
            ),
        }
        for s, n in COUNTS.items()
    }


def mmsa_content(fill: float | None = None) -> dict[str, Any]:
    return {
        s: {
            "raw_text": ["hello"] * n,
            "text": features("text", n, fill=fill),
            "text_bert": np.zeros((n, 3, STEPS)),
            "audio": features("audio", n, fill=fill),
            "vision": features("visual", n, fill=fill),
            "id": [f"{v}$_${k}" for v, k in zip(IDS[s], CLIPS[s], strict=True)],
            "regression_labels": np.zeros(n),
        }
        for s, n in COUNTS.items()
    }


def _pickled(content: dict[str, Any], folder: Path, wide: bool) -> Source:
    if wide:
        content["valid"]["audio"] = widened(content["valid"]["audio"])
    path = folder / "data.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    return Source(path, path, {"labels": label_csv(folder / "segments.csv")})


def mult(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    return _pickled(mult_content(fill), folder, wide)


def mmsa(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    return _pickled(mmsa_content(fill), folder, wide)


def write_csd(
    path: Path, root: str, entries: dict[str, Any], metadata: dict[str, Any] | None = None
) -> Path:
    """Write ``entries`` (key -> features, intervals) in the layout of the SDK."""
    with h5py.File(path, "w") as file:
        for key, (values, intervals) in entries.items():
            group = file.create_group(f"{root}/data/{key}")
            group["features"] = values
            group["intervals"] = np.array(intervals, np.float64).reshape(-1, 2)
        for name, value in (metadata or {}).items():
            file[f"{root}/metadata/{name}"] = np.array([json.dumps(value).encode()])
    return path


def csd(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    """Two words and three frames in each of the videos ann, bob and cy, one segment each."""
    words, frames = [(0, 1), (1, 2)], [(0, 0.5), (0.5, 1), (1.25, 1.75)]
    videos = ("ann", "bob", "cy")
    text = {v: (features("text", 1, 2, fill)[0], words) for v in videos}
    audio = {v: (features("audio", 1, 3, fill)[0], frames) for v in videos}
    visual = {v: (features("visual", 1, 3, fill)[0], frames) for v in videos}
    if wide:
        audio["bob"] = (widened(audio["bob"][0]), frames)
    labels = {v: (np.array([[1, 0, 1.0, 0, 0, 0, 2 / 3]]), [(0, 2)]) for v in videos}
    folder.mkdir(exist_ok=True)
    write_csd(folder / "CMU_MOSEI_TimestampedWordVectors.csd", "glove_vectors", text)
    damage = write_csd(folder / "CMU_MOSEI_COVAREP.csd", "COVAREP", audio)
    write_csd(folder / "CMU_MOSEI_VisualOpenFace2.csd", "OpenFace_2", visual)
    names = ["sentiment", *SDK]
    write_csd(folder / "CMU_MOSEI_Labels.csd", "All Labels", labels, {"dimension names": names})
    folds = folder / "folds.json"
    folds.write_text(json.dumps({"train": ["ann"], "valid": ["bob"], "test": ["cy"]}))
    return Source(folder, damage, {"folds": folds})


def table(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    path = folder / "samples.csv"
    path.write_text("id,split,happy,calm,comment\na1,train,1,0,x\nb2,dev,0,0.5,y\nc3,test,2,0,\n")
    visual = features("visual", 3, 1, fill)[:, 0]
    np.save(folder / "visual.npy", visual)
    (folder / "audio").mkdir()
    for i, name in enumerate(("a1", "b2")):  # c3 has no audio
        audio = features("audio", 3, 2 + i, fill)[i]
        np.save(folder / f"audio/{name}.npy", widened(audio) if wide and i else audio)
    return Source(path, folder / "audio/a1.npy")


def npz(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    path = folder / "data.npz"
    arrays: dict[str, Any] = {m: features(m, 4, 1, fill)[:, 0] for m in DIMS}
    if wide:
        arrays["audio"] = arrays["audio"][:, None, None]
    intensity = np.zeros((4, 6), np.float32)
    intensity[0, 0], intensity[1, 2], intensity[2, 5] = 0.1, 3.0, 0.05
    np.savez(
        path,
        id=np.array(["a", "b", "c", "d"]),
        split=np.array(["train", "valid", "test", "none"]),
        emotion_intensity=intensity,
        **arrays,
    )
    return Source(path, path)


def pom(folder: Path, fill: float | None = None, wide: bool = False) -> Source:
    folder.mkdir(exist_ok=True)
    ratings = {
        "train": [[1.0, 5.0], [2.0, 5.0], [4.0, 6.0]],
        "valid": [[2.0, 5.5]],
        "test": [[2.5, 1.0]],
    }
    for split, y in ratings.items():
        audio = features("audio", len(y), fill=fill).astype(np.float64)
        visual = features("visual", len(y), fill=fill).astype(np.float64)
        if fill is None and split == "train":
            audio[1, :4], visual[1, :4], visual[2] = 0, 0, 0
        values = {"y": y, "audio": audio, "video": visual}
        if wide and split == "valid":
            values["audio"] = widened(audio)
        for name, value in values.items():
            with h5py.File(folder / f"{name}_{split}.h5", "w") as file:
                file["d1"] = np.array(value)
    return Source(folder, folder / "audio_train.h5")


MAKERS: dict[str, Callable[..., Source]] = {
    "tailor": tailor,
    "mult": mult,
    "mmsa": mmsa,
    "csd": csd,
    "table": table,
    "npz": npz,
    "pom": pom,
}


def replace_pickle(path: Path, data: bytes) -> None:
    """Make a torch zip file whose pickle is ``data``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
