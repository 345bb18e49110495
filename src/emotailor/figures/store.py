"""The folder of figures: the one place that knows its files and what is in them.

    index.json    what the figures are of, what was drawn, and what was skipped and why
    claims.json   the claims of the paper, checked
    NAME.json     the numbers behind NAME.svg and NAME.png

All are drawn elsewhere first. While they take their places the index lists nothing; it is replaced
last: where it lists a file, the file is whole, and of the same run.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from emotailor.config import first_problem
from emotailor.errors import DataError
from emotailor.files import replacing_file, replacing_folder, sha256_of, write_json
from emotailor.folders import FolderKind
from emotailor.verified import read_json, verify_file

INDEX_FILE = "index.json"
CLAIMS_FILE = "claims.json"
FORMAT: Final = "emotailor-figures"
VERSION = 3
"""Version of all files of the folder; folders without one are of version 1, and without words on
what is seen before version 3."""

VERSION_KEY = "version"

AGAIN = "draw the figures again: emotailor figures RUN"

IMAGES = ("svg", "png")
SIGNIFICANT = 6  # digits of the stored numbers

FIGURES = (
    "figure4-losses",
    "figure5-discriminator",
    "figure6-tsne",
    "figure7-label-correlation",
    "precision-recall",
    "reliability",
    "thresholds",
    "co-occurrence",
    "attention",
    "explanations",
)
"""Names of all figures, in the order in which they are drawn and shown."""


def _is_index(content: Any) -> bool:
    """Return whether an ``index.json`` is one of ours."""
    if not isinstance(content, dict):
        return False
    if "format" in content:
        return bool(content["format"] == FORMAT)
    return {"against", "skipped"} <= set(content)  # folders of the first versions have no format


KIND = FolderKind(
    name="folder of figures",
    marker=INDEX_FILE,
    recognises=_is_index,
    writes=(
        INDEX_FILE,
        CLAIMS_FILE,
        *(f"{name}.{ending}" for name in FIGURES for ending in (*IMAGES, "json")),
    ),
)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about a trained model, checked.

    Attributes:
        name: name in ``claims.json``.
        statement: what is claimed.
        expected: what would bear it out.
        found: what was found, or why nothing could be.
        holds: whether the claim holds; None where it could not be checked.
        numbers: numbers behind ``found``.
    """

    name: str
    statement: str
    expected: str
    found: str
    holds: bool | None
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class StoredClaims(BaseModel):
    """What ``claims.json`` holds.

    Attributes:
        split: split on which the claims were checked.
        planted: whether the data have a planted truth.
        claims: the claims.
    """

    split: str = ""
    planted: bool = False
    claims: list[Claim]


class IndexedData(BaseModel):
    """The data set that figures are of."""

    name: str = ""
    fingerprint: str


class FigureIndex(BaseModel):
    """What ``index.json`` holds.

    Attributes:
        format: always ``emotailor-figures``.
        version: version of the folder.
        run: name of the run folder.
        system: name of the system.
        against: name of the run that was laid beside it in Figure 6; None for none.
        split: split of the samples that were looked at.
        data: data set of these samples.
        written: names of the files in the order of writing, without the index itself.
        skipped: figure -> why it was not drawn.
        notes: what a reader of the figures should know.
        sha256: name of a file in ``written`` -> SHA-256 of it; empty in folders of version 1.
    """

    format: Literal["emotailor-figures"] = FORMAT
    version: int = Field(1, ge=1, le=VERSION)
    run: str = ""
    system: str
    against: str | None = None
    split: str
    data: IndexedData
    written: list[str]
    skipped: dict[str, str]
    notes: list[str] = Field(default_factory=list)
    sha256: dict[str, str] = Field(default_factory=dict)

    @field_validator("written")
    @classmethod
    def _stay_in_the_folder(cls, names: list[str]) -> list[str]:
        return [Path(name).name for name in names]

    @model_validator(mode="after")
    def _check_hashes(self) -> "FigureIndex":
        if self.version > 1 and set(self.sha256) != set(self.written):
            raise ValueError("sha256 has not one hash for each written file")
        return self

    @property
    def has_claims(self) -> bool:
        """Whether claims were checked."""
        return CLAIMS_FILE in self.written

    @property
    def drawn(self) -> list[str]:
        """The names of the figures that were drawn, in order."""
        files = [Path(name) for name in self.written]
        return [file.stem for file in files if file.suffix == ".svg"]


class FigureFolder:
    """A folder of figures.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # ------------------------------------------------------------------ reading

    def read_index(self) -> FigureIndex:
        """Return what the folder says of its figures.

        Raises:
            DataError: the index is missing or damaged, was written by a newer version, or the
                drawing was stopped before its end.
        """
        file = self.path / INDEX_FILE
        values = _read_json(file)
        try:
            return FigureIndex.model_validate(values)
        except ValidationError as error:
            raise DataError(
                f"{file} does not list figures: {first_problem(error)}",
                expected=f"a list of figures of version {VERSION} or older",
                fix=AGAIN,
            ) from error

    def check_whole(self, index: FigureIndex) -> None:
        """Refuse a folder in which a file that the index lists is missing or damaged.

        Raises:
            DataError: naming the first of them.
        """
        for name in index.written:
            file = self.path / name
            if name in index.sha256:
                verify_file(file, index.sha256[name], fix=AGAIN)
            elif not file.is_file():
                raise DataError(f"{file} is missing", fix=AGAIN)

    def is_whole(self, index: FigureIndex) -> bool:
        """Whether every file that the index lists is there and as it was written."""
        try:
            self.check_whole(index)
        except DataError:
            return False
        return True

    @property
    def written_at(self) -> float:
        """The time at which the index was written, in seconds since 1970.

        Raises:
            OSError: there is no index.
        """
        return (self.path / INDEX_FILE).stat().st_mtime

    def read_claims(self) -> StoredClaims | None:
        """Return the claims; None where none were checked.

        Raises:
            DataError: the file is damaged.
        """
        file = self.path / CLAIMS_FILE
        if not file.is_file():
            return None
        values = _read_json(file)
        try:
            return StoredClaims.model_validate(values)
        except ValidationError as error:
            raise DataError(
                f"{file} holds no claims: {first_problem(error)}",
                fix=AGAIN,
            ) from error

    def read_numbers(self, name: str) -> dict[str, Any]:
        """Return the numbers behind a figure.

        Raises:
            DataError: there are none, or the file is damaged.
        """
        numbers = _read_json(self.path / f"{name}.json")
        numbers.pop(VERSION_KEY, None)
        return numbers

    def image(self, name: str, kind: Literal["svg", "png"]) -> Path:
        """Return the path of a drawing."""
        return self.path / f"{name}.{kind}"

    # ------------------------------------------------------------------ writing

    def check(self) -> None:
        """Refuse a folder of something else: its files could bear the names of ours.

        Raises:
            ConfigError: the folder holds something else, or cannot be written to.
        """
        KIND.check(self.path)

    @contextmanager
    def replacing(self) -> Iterator["FigureFolder"]:
        """Yield an empty folder; on success its figures are here, and no earlier ones.

        Raises:
            ConfigError: the folder holds something else, or another process is drawing there.
            OSError: something cannot be written.
        """
        self.check()
        with replacing_folder(
            self.path,
            index=INDEX_FILE,
            writes=KIND.writes,
            overwrite=True,
            meanwhile={"format": FORMAT},
        ) as temporary:
            yield FigureFolder(temporary)

    def summary(self, name: str) -> list[str]:
        """Return what is seen in a figure and what was left out of it; nothing where unknown."""
        try:
            values = self.read_numbers(name)
        except DataError:  # lost or damaged: the picture itself may be whole
            return []

        summary = values.get("summary")
        left_out = values.get("left_out", [])
        texts = [summary] if isinstance(summary, str) else []
        if isinstance(left_out, list):
            texts += [f"Not drawn: {line}." for line in left_out]
        return texts

    def write_figure(
        self, name: str, numbers: Mapping[str, Any], images: Mapping[str, bytes]
    ) -> list[Path]:
        """Write a figure and the numbers behind it; return the files.

        Args:
            name: name of the figure.
            numbers: numbers, as :func:`plain` returns them.
            images: kind of file -> its content.
        """
        written = []
        for kind, content in images.items():
            file = self.path / f"{name}.{kind}"
            with replacing_file(file) as temporary:
                temporary.write_bytes(content)
            written.append(file)

        file = self.path / f"{name}.json"
        write_json(file, {**numbers, VERSION_KEY: VERSION})
        return [*written, file]

    def write_claims(self, claims: Iterable[Claim], *, split: str, planted: bool) -> Path | None:
        """Write the claims and return their file; None without claims."""
        file = self.path / CLAIMS_FILE
        values = [claim.to_json() for claim in claims]
        if not values:
            return None

        stored = {"split": split, "planted": planted, "claims": values}
        write_json(file, {**plain(stored), VERSION_KEY: VERSION})
        return file

    def write_index(self, index: FigureIndex) -> Path:
        """Write the index, with the hashes of the files that it lists; return its file."""
        hashes = {name: sha256_of(self.path / name) for name in index.written}
        values = index.model_dump(mode="json")

        file = self.path / INDEX_FILE
        write_json(file, {**values, VERSION_KEY: VERSION, "sha256": hashes})
        return file


def plain(value: Any) -> Any:
    """Return JSON values: NaN as None, other numbers to six digits."""
    if isinstance(value, Mapping):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if not isinstance(value, float | np.floating):
        return value

    # JSON knows neither NaN nor infinity
    if not math.isfinite(value):
        return None
    rounded = f"{value:.{SIGNIFICANT}g}"
    return float(rounded)


def _read_json(file: Path) -> dict[str, Any]:
    return read_json(file, expected="a file that emotailor figures wrote", fix=AGAIN)
