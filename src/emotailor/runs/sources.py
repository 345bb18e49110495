"""Whatever is to be predicted, opened as one stream of samples.

A source is a stored data set, a file or folder that can be converted, a folder of files with one
sample each, or several of these. Samples are read when they are asked for, so that there may be
more than the memory holds. A file that is damaged becomes a failure in its place.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from emotailor.data.card import CARD_FILE
from emotailor.data.dataset import EmotionDataset
from emotailor.data.extraction import check_extraction
from emotailor.data.readers import Account, Reading, Unreadable, read_samples
from emotailor.data.readers._detect import detect_folder
from emotailor.data.readers.array_files import SUFFIXES, is_one_sample, read_one
from emotailor.data.readers.media import media_of, refuse_media
from emotailor.data.sample import MODALITIES, Sample
from emotailor.data.store import open_dataset
from emotailor.errors import DataError, ModelError
from emotailor.serving.given import source_of
from emotailor.serving.prediction import Failure
from emotailor.serving.predictor import Predictor

Item = Sample | Failure

ALL = "all"
"""The name of all splits together."""

EXPECTED = (
    f"a stored data set, an .npz with arrays {', '.join(MODALITIES)}, a folder of these, a CSV of "
    "paths, or what `emotailor data convert` reads"
)

USUAL = "test"
"""The split of a data set that is taken where nobody names one."""


@dataclass
class Source:
    """Samples to predict, in order.

    Attributes:
        items: the samples, and the failures in the places of those that cannot be read; to be gone
            through once.
        count: how many there are; None where that shows only at the end.
        notes: what was chosen without being asked for, and what was not used; complete only after
            ``items`` ended.
    """

    items: Iterator[Item]
    count: int | None = None
    notes: Iterable[str] = ()


def open_sources(
    paths: Sequence[Path],
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    limit: int | None = None,
    predictor: Predictor | None = None,
) -> Source:
    """Open everything that is to be predicted, one after the other.

    Args:
        paths: data sets, files and folders.
        split: the split of data sets; by default ``test`` where there is one and else all, which
            ``all`` names too.
        ids: ids of the samples; empty for all.
        limit: the largest number of samples.
        predictor: that the samples are for; a stored data set must have features of its kind.

    Raises:
        ModelError: a data set does not fit the model.
        DataError: there is nothing at a path, or nothing that could hold samples. What is wrong
            with single samples, or with one of several paths, shows as a failure, and an id that is
            nowhere at the end.
    """
    # who asks for an id is to know where it was not looked for
    may_fail = len(paths) > 1 and not ids
    opened = []
    for path in paths:
        try:
            source = _open(path, split, ids, predictor)
        except (DataError, ModelError) as error:
            if not may_fail:
                raise
            source = Source(iter([Failure(path.name, error, str(path))]), 1)
        opened.append(source)

    items: Iterator[Item] = chain.from_iterable(source.items for source in opened)

    counts = [source.count for source in opened]
    known = [count for count in counts if count is not None]
    count = sum(known) if len(known) == len(counts) else None
    if ids:
        items = _only(items, ids, paths)
        count = None
    if limit is not None:
        items = islice(items, limit)
        count = None if count is None else min(count, limit)
    notes = chain.from_iterable(source.notes for source in opened)
    return Source(_told_apart(items), count, notes)


def _open(path: Path, split: str | None, ids: Sequence[str], predictor: Predictor | None) -> Source:
    refuse_media(path, None if predictor is None else predictor.dims)
    is_array_file = path.suffix.lower() in SUFFIXES and not path.is_dir()
    if is_array_file:
        unused = Unused()
        return Source(_of_file(path, path.stem, split, unused), notes=unused)

    is_file_name = bool(path.suffix)
    if is_file_name and not path.exists():
        raise DataError(f"{path} does not exist", expected=EXPECTED, fix="check the path")
    if (path / CARD_FILE).exists() or not path.exists():
        # where nothing is, it says where a data set comes from
        return _of_dataset(path, split, ids, predictor)
    if path.is_dir():
        return _of_folder(path, split, predictor)
    return _of_reading(path, split, predictor)


# ---------------------------------------------------------------------- stored data sets


def _of_dataset(
    path: Path, split: str | None, ids: Sequence[str], predictor: Predictor | None
) -> Source:
    dataset = open_dataset(path)
    if predictor is not None:
        predictor.check_fits(dataset)

    names, notes = _splits(path, dataset, split)
    if ids:
        places = list(_places_of(dataset, names, ids))
        return Source(_read(path, dataset, places), len(places), notes)

    count = sum(len(dataset[name]) for name in names)
    if not count:
        raise DataError(
            f"split {', '.join(names)} of {path} is empty", expected="at least one sample"
        )
    every = ((name, i) for name in names for i in range(len(dataset[name])))
    return Source(_read(path, dataset, every), count, notes)


def _splits(path: Path, dataset: EmotionDataset, split: str | None) -> tuple[list[str], list[str]]:
    """Return the names of the splits that are meant, and what to say about the choice."""
    every = list(dataset.splits)
    if split == ALL and ALL not in every:
        return every, []
    if split is not None:
        return [dataset.split_name(split)], []
    if USUAL not in every:
        return every, []

    total = sum(len(dataset[name]) for name in every)
    chosen = len(dataset[USUAL])
    if chosen == total:
        return [USUAL], []
    note = f"split {USUAL} of {path}, {chosen:,} of its {total:,} samples: --split all takes all"
    return [USUAL], [note]


def _places_of(
    dataset: EmotionDataset, names: Sequence[str], ids: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """Yield split and position of samples, in the order in which they are named."""
    for sample_id in ids:
        holding = [name for name in names if sample_id in dataset[name]]
        # where none does, the first split says so
        name = holding[0] if holding else names[0]
        yield name, dataset[name].index_of(sample_id)


def _read(
    path: Path, dataset: EmotionDataset, places: Iterable[tuple[str, int]]
) -> Iterator[Sample]:
    for name, position in places:
        yield _from(dataset[name].sample(position), f"{path}:{name}")


# ---------------------------------------------------------------------- files


class Unused(list[str]):
    """Notes on what lies in files and was not used, each once; complete when all are read."""

    def take_in(self, account: Account) -> None:
        """Note what was left of a file."""
        for note in account.notes():
            if note not in self:
                self.append(note)


def _of_folder(path: Path, split: str | None, predictor: Predictor | None) -> Source:
    """Open a folder of files with one sample each, also in folders below it, or of a format."""
    by_modality = any((path / m).is_dir() for m in MODALITIES)
    is_format = by_modality or any(path.glob("*.csv"))
    files: list[Path] = []
    others: list[Path] = []
    if not is_format:
        files, others = _files_below(path)

    if not files:
        if not is_format and detect_folder(path) is None:
            _refuse_recordings(others, predictor)
            raise DataError(
                f"no data set at {path}, nor files with samples",
                expected=f"a {CARD_FILE}, or .npz files with arrays {', '.join(MODALITIES)}",
                fix="check the path; `emotailor data convert --help` says what can be converted",
            )
        return _of_reading(path, split, predictor)

    unused = Unused()
    account = Account()
    account.hold(f"files in {path}", [file.relative_to(path).as_posix() for file in others])
    unused.take_in(account)

    def items() -> Iterator[Item]:
        for file in files:
            inside = file.relative_to(path).with_suffix("")
            yield from _of_file(file, inside.as_posix(), split, unused)

    return Source(items(), len(files), unused)


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that may hold samples, and the others; hidden ones are not ours to read."""
    arrays: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.parts[-2:])
        if hidden or file.is_dir():
            continue
        kind = arrays if file.suffix.lower() in SUFFIXES else others
        kind.append(file)
    return arrays, others


def _refuse_recordings(files: Iterable[Path], predictor: Predictor | None) -> None:
    """Refuse a folder of videos, sounds or pictures as one of them is refused.

    Raises:
        DataError: there is one.
    """
    first: dict[str | None, Path] = {}
    for file in files:
        first.setdefault(media_of(file), file)

    # a text beside them is about them
    for kind in ("a video", "a sound", "a picture"):
        if kind in first:
            refuse_media(first[kind], None if predictor is None else predictor.dims)


def _of_file(file: Path, name: str, split: str | None, unused: Unused) -> Iterator[Item]:
    """Yield what a file of arrays holds, or why it holds nothing.

    Args:
        file: the file.
        name: the id of the sample, where it is one.
        split: the split to take, where it holds many.
        unused: takes in what is not used.
    """
    account = Account()
    try:
        one = read_one(file, account) if is_one_sample(file) else None
    except DataError as error:
        yield Failure(name, error, str(file))
        return

    if one is None:
        yield from _of_many(file, split, unused)
        return
    unused.take_in(account)
    yield _from(replace(one, id=name), str(file))


def _of_many(file: Path, split: str | None, unused: Unused) -> Iterator[Item]:
    """Yield the samples of a file that holds many, or why it holds none."""
    try:
        reading = read_samples(file, keep_going=True)
    except DataError as error:
        yield Failure(file.stem, error, str(file))
        return
    yield from _items_of(reading, file, split, unused)


def _of_reading(path: Path, split: str | None, predictor: Predictor | None) -> Source:
    """Open whatever else can be converted."""
    reading = read_samples(path, keep_going=True)
    if predictor is not None:
        known = predictor.card.extraction
        check_extraction(reading.extraction, known, predictor.dims, str(path))

    unused = Unused()
    return Source(_items_of(reading, path, split, unused), notes=unused)


def _items_of(reading: Reading, path: Path, split: str | None, unused: Unused) -> Iterator[Item]:
    """Yield the samples of an open source; where it is damaged on the way, that is the last."""
    samples = iter(reading.samples)
    while True:
        try:
            found = next(samples, None)
        except DataError as error:
            yield Failure(path.name, error, str(path))
            break
        if found is None:
            break

        name, sample = found
        if split not in (None, ALL, name):
            continue
        if isinstance(sample, Unreadable):
            yield Failure(sample.id, sample.error, str(path))
        else:
            yield _from(sample, str(path))
    unused.take_in(reading.account)


def _from(sample: Sample, source: str) -> Sample:
    about = {**sample.about, "source": source}
    return replace(sample, about=about)


# ---------------------------------------------------------------------- choosing


def _only(items: Iterable[Item], ids: Sequence[str], paths: Sequence[Path]) -> Iterator[Item]:
    """Yield the samples with some ids.

    Raises:
        DataError: at the end, where an id was nowhere.
    """
    missing = dict.fromkeys(ids)
    for item in items:
        if item.id in ids:
            missing.pop(item.id, None)
            yield item

    if missing:
        places = ", ".join(str(path) for path in paths[:3])
        raise DataError(
            f"no sample {next(iter(missing))!r} in {places}",
            expected="ids of samples that are there, as `emotailor predict` prints them",
        )


def _told_apart(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the samples; those of one id and one source get numbers behind the source."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        source = item.source if isinstance(item, Failure) else source_of(item)
        seen[item.id, source] += 1
        again = seen[item.id, source]
        if again == 1:
            yield item
            continue

        numbered = f"{source} ({again})".strip()
        if isinstance(item, Failure):
            yield replace(item, source=numbered)
        else:
            yield _from(item, numbered)
