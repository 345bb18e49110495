"""Turning the files people have into a stored data set."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from emotailor.data.card import FOLDER
from emotailor.data.cutting import MaxSteps, Shortened
from emotailor.data.dataset import EmotionDataset
from emotailor.data.ids import Videos, segment_key
from emotailor.data.readers import (
    FORMATS,
    ConvertOptions,
    Format,
    Reading,
    detect,
    find_format,
    open_source,
)
from emotailor.data.readers._own import source_file
from emotailor.data.readers.account import renamed
from emotailor.data.readers.encoding import Encoding
from emotailor.data.readers.splitting import divide, is_in_share, parse_shares
from emotailor.data.sample import EMOTIONS, MODALITIES, UNSPLIT, Modality, Sample, canonical_label
from emotailor.data.store import DatasetWriter, open_dataset
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.table import load_encoder
from emotailor.errors import ConfigError, DataError
from emotailor.files import sha256_of
from emotailor.text import encodable, plural

HASH_LIMIT = 4 * 2**30
"""Bytes above which a source file is named in the provenance without its SHA-256."""


USUAL_COLUMN = "text"
"""The column with what is said, where an encoder is given and nobody names one."""


def convert(
    source: str | Path | Mapping[str, str | Path],
    output: str | Path,
    *,
    format: str | Format | Callable[..., Any] | None = None,  # noqa: A002 - the command's option has this name
    name: str | None = None,
    labels: str | Path | None = None,
    label_names: Sequence[str] | None = None,
    label_threshold: float = 0.0,
    label_rule: str = ">",
    folds: str | Path | None = None,
    split_by_hash: bool = False,
    split: str | Sequence[float] | None = None,
    split_seed: int = 0,
    unlabelled: bool = False,
    align: bool | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    max_steps: MaxSteps | None = None,
    longer: str = "cut",
    train_share: float = 1.0,
    features: Mapping[Modality, str | Path] | None = None,
    join: Sequence[str | Path] = (),
    flags: Mapping[Modality, str] | None = None,
    flag_names: Sequence[str] | None = None,
    text_column: str | None = None,
    encoder: str | Path | TextEncoder | None = None,
    pooling: str = "words",
    console: Console | None = None,
) -> EmotionDataset:
    """Read ``source`` in any known format and store it at ``output``.

    Emotions get the paper's names, and where they are exactly the paper's six also its order.
    What was dropped, assumed or could not be matched is kept in the ``repairs`` of the result.

    Args:
        source: a file or folder; for ``.csd`` files also a path per role (visual, audio, text,
            labels).
        output: folder to create.
        format: name of a format (see ``emotailor.data.readers``), a reader of one's own as
            ``package.module:name`` or ``path/to/file.py:name``, or the function itself; found out
            by default.
        name: name of the data set; by default that of the source.
        labels: file with emotion labels, for formats that lack them.
        label_names: names of the label columns, or which columns to take.
        label_threshold: a label holds where its value is beyond this.
        label_rule: ``>`` or ``>=``: whether the threshold itself counts.
        folds: file that says which video is in which split (``.csd`` alone).
        split_by_hash: without ``folds``, split videos 70/10/20 by a hash of their id.
        split: shares of train, valid and test, such as ``70/10/20``, by which the videos of a
            source without splits are divided.
        split_seed: another number divides in another way.
        unlabelled: keep samples whose labels nobody knows, for prediction.
        align: True or False to insist on aligned or unaligned; None to find out.
        overwrite: replace an existing data set.
        limit: most samples per split, for a quick try.
        max_steps: most steps of a sample; one number, or one for each modality where they have
            steps of their own.
        longer: what becomes of a sample with more: ``cut`` to its first steps, or ``split`` into
            parts of about equal length, with the labels of the sample and ids of the same video.
        train_share: share of the split train to take, from 0 to 1: the samples whose ids have the
            smallest hashes, in whatever order they come.
        features: modality -> file with the features of all rows of a table, ``.npz`` or
            ``.safetensors`` with ``values`` and ``offsets``, or ``.npy``.
        join: further CSVs, whose columns are joined to a table by id.
        flags: modality -> column of names of a table, which become features: 1 for each name that
            is there, else 0, at every step of the other modalities.
        flag_names: the names that features stand for, as of the data that a model was trained on;
            by default all that there are.
        text_column: column of a table that holds what is said; ``text`` where there is an encoder.
        encoder: makes the features of text from what is said: a name such as ``minilm``, the folder
            of a Hugging Face model, a file of word vectors, or an encoder that is loaded already.
        pooling: with an encoder that has to be loaded, ``words`` for one vector per word,
            ``sentence`` for one per text.
        console: where to show how far the encoding is; None for nowhere.

    Raises:
        ModelError: a file of the encoder is missing or damaged.
        DataError: the source is missing, damaged or not of the format, or ``output`` exists.
        ConfigError: an option is out of range or of no use for the format, or there is no such
            format.
        EmotailorError: a reader of one's own fails.
    """
    if isinstance(encoder, TextEncoder):
        pooling = encoder.pooling
    options = ConvertOptions(
        labels=Path(labels) if labels is not None else None,
        label_names=tuple(label_names) if label_names is not None else None,
        label_threshold=float(label_threshold),
        label_rule=label_rule,
        folds=Path(folds) if folds is not None else None,
        split_by_hash=split_by_hash,
        split=_shares(split),
        split_seed=split_seed,
        unlabelled=unlabelled,
        align=align,
        limit=limit,
        max_steps=max_steps,
        longer=longer,
        train_share=train_share,
        features={m: Path(file) for m, file in (features or {}).items()},
        join=tuple(Path(file) for file in join),
        flags=dict(flags or {}),
        flag_names=tuple(flag_names) if flag_names is not None else None,
        text_column=text_column,
        pooling=pooling,
    )
    output = Path(output)
    FOLDER.check_new(output, overwrite=overwrite)  # before hours of reading

    paths: Path | dict[str, Path]
    if isinstance(source, Mapping):
        paths = {role: Path(path) for role, path in source.items()}
        first = next(iter(paths.values()), Path())
        chosen = find_format(format or "csd")
    else:
        paths = first = Path(source)
        chosen = find_format(format or detect(first))

    if encoder is not None:
        options = _to_encode(options, chosen)
    division = None
    if options.split is not None:
        division = _division(open_source(paths, chosen, options), options.split, split_seed)

    reading = open_source(paths, chosen, options)
    if division is not None:
        reading = _divided(reading, division, options)
    if options.train_share < 1:
        reading = _with_share(reading, options.train_share)

    # a text is encoded as a whole, whatever is cut off behind
    encoding = None
    if encoder is not None:
        chosen_encoder = load_encoder(encoder, pooling=pooling)
        encoding = Encoding(reading, chosen_encoder, output, limit=limit, console=console)
        reading = encoding.reading
    elif text_column is not None and not reading.dims:
        raise ConfigError(
            f"the column {text_column!r} is given, and nothing makes features of it",
            expected="an encoder, or features beside the table",
            fix="add --encoder minilm",
        )

    shortened = None
    if options.max_steps is not None:
        shortened = Shortened(options.max_steps, options.longer, aligned=reading.aligned)
        reading = replace(reading, samples=shortened.samples(reading.samples))

    names, order = stored_labels(reading.label_names)
    with DatasetWriter(
        output,
        name=encodable(name or first.resolve().stem),
        label_names=names,
        dims=reading.dims,
        aligned=reading.aligned,
        extraction=reading.extraction,
        provenance=_provenance(chosen, reading, options),
        overwrite=overwrite,
    ) as writer:
        _write(writer, reading, order, first, limit=limit, shortened=shortened)
    if encoding is not None:
        encoding.discard()
    return open_dataset(output)


def _to_encode(options: ConvertOptions, chosen: Format) -> ConvertOptions:
    """Return options that say where the text to encode is.

    Raises:
        ConfigError: the format has no text.
    """
    if "text_column" not in chosen.options:
        raise ConfigError(
            f"an encoder is given, and the source is of the format {chosen.name}",
            expected="a table with a column of what is said",
            fix="leave out --encoder: a source of features needs none",
        )
    return replace(options, text_column=options.text_column or USUAL_COLUMN)


def _shares(split: str | Sequence[float] | None) -> tuple[float, float, float] | None:
    """Return the shares of train, valid and test, from text or numbers."""
    if split is None:
        return None
    if not isinstance(split, str):
        split = "/".join(str(share) for share in split)
    return parse_shares(split)


def _division(reading: Reading, shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Go through all samples, and return the split in which each is to be.

    Raises:
        ConfigError: the source has splits of its own.
        DataError: there are too few videos.
    """
    ids = []
    for split, sample in reading.samples:
        if split != UNSPLIT:
            raise ConfigError(
                f"a split is given, and the source has one: {sample.id!r} is in {split!r}",
                expected=f"a source without splits, all of whose samples are in {UNSPLIT!r}",
                fix="leave out --split",
            )
        ids.append(sample.id)
    return divide(ids, shares, seed)


def _divided(reading: Reading, division: Mapping[str, str], options: ConvertOptions) -> Reading:
    """Return a reading whose samples are in the splits of a division."""
    assert options.split is not None
    shares = "/".join(f"{100 * share:g}" for share in options.split)
    note = f"videos are divided {shares} into train, valid and test, seed {options.split_seed}"

    def samples() -> Iterator[tuple[str, Sample]]:
        for _, sample in reading.samples:
            yield division[sample.id], sample

    return replace(reading, samples=samples(), notes=[*reading.notes, note])


def _with_share(reading: Reading, share: float) -> Reading:
    """Return a reading with a share of the samples of the split train."""

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, sample in reading.samples:
            if split == "train" and not is_in_share(sample.id, share):
                reading.account.drop("sample", f"of train outside a share of {share:g}", sample.id)
                continue
            yield split, sample

    return replace(reading, samples=samples())


def stored_labels(names: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names under which labels are stored, and the source's column for each.

    Six emotions come in the order of ``EMOTIONS``, other labels in that of the source.
    """
    canonical = [canonical_label(name) for name in names]
    order = list(range(len(canonical)))

    # the paper's six are the same data in whatever order a source has them
    if sorted(canonical) == sorted(EMOTIONS):
        order = [canonical.index(name) for name in EMOTIONS]

    stored = [canonical[column] for column in order]
    return tuple(stored), order


def _provenance(chosen: Format, reading: Reading, options: ConvertOptions) -> dict[str, Any]:
    sources = []
    for file in reading.files:
        # hashing a larger one would take longer than reading it
        digest = None
        if file.stat().st_size <= HASH_LIMIT:
            digest = sha256_of(file)
        sources.append({"file": encodable(file.name), "sha256": digest})

    told = {key: _told(value) for key, value in vars(options).items() if value is not None}

    provenance: dict[str, Any] = {"format": chosen.name, "sources": sources, "options": told}
    built_in = FORMATS.get(chosen.name) is chosen
    if built_in:
        return provenance

    # the version of this package does not say what a reader of somebody else does
    written_in = source_file(chosen)
    if written_in is not None:
        digest = sha256_of(written_in)
        provenance["reader"] = {"file": written_in.name, "sha256": digest}
    return provenance


def _told(value: Any) -> Any:
    """Return an option as it is stored: of a path its name alone."""
    # the folders of one machine mean nothing in a stored data set
    if isinstance(value, Path):
        return encodable(value.name)
    if isinstance(value, tuple):
        return [_told(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _told(part) for key, part in value.items()}
    return value


class _Tally:
    """What was seen while samples were written.

    Attributes:
        taken: number of samples per split.
        beyond: number of samples left out because of a limit.
        unlabelled: number of samples whose labels are unknown.
        present: number of samples that have a modality.
        steps: number of steps per modality of the samples that have it.
        lacking: number of those that are missing.
        finite: modalities with any value that is a number.
        in_train: number of samples of the split train that have a modality.
        split_of: the split of each sample, by its id.
    """

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.beyond = 0
        self.unlabelled = 0
        self.present: Counter[Modality] = Counter()
        self.steps: Counter[Modality] = Counter()
        self.lacking: Counter[Modality] = Counter()
        self.finite: set[Modality] = set()
        self.in_train: Counter[Modality] = Counter()
        self.split_of: dict[str, str] = {}
        self._by_segment: dict[str, str] = {}  # one key for each segment -> id

    def add(self, split: str, sample: Sample) -> None:
        self.taken[split] += 1
        if sample.labels is None:
            self.unlabelled += 1

        self.split_of[sample.id] = split
        self._refuse_second_spelling(sample.id)

        for m, sequence in sample.sequences.items():
            self.present[m] += 1
            if split == "train":
                self.in_train[m] += 1
            self.steps[m] += len(sequence)
            self.lacking[m] += int(np.count_nonzero(sample.missing.get(m, ())))
            # one number is enough, so that most sequences need no look
            if m not in self.finite and np.isfinite(sequence).any():
                self.finite.add(m)

    def _refuse_second_spelling(self, sample_id: str) -> None:
        key = segment_key(sample_id)
        other = self._by_segment.setdefault(key, sample_id)
        if other != sample_id:
            raise DataError(
                f"the samples {other!r} and {sample_id!r} are one segment, written in two ways",
                expected="every segment once",
            )

    def refuse_useless(self, source: Path, notes: Sequence[str]) -> None:
        """Refuse a source whose features are no numbers, or that has no sample.

        Raises:
            DataError: it is one.
        """
        damaged = [m for m in MODALITIES if self.present[m] and m not in self.finite]
        if damaged:
            which = " and ".join(damaged)
            raise DataError(
                f"{source}: every value of {which} is NaN or infinite",
                expected="features that are numbers",
                fix="extract or export the features again",
            )

        if not self.taken:
            # the notes may say where they all went
            why = f": {'; '.join(notes)}" if notes else ""
            raise DataError(
                f"{source} has no sample that can be used{why}", expected="at least one"
            )

    def summary(self, dropped: int, added: int) -> str | None:
        """Say how many samples there are and how many are not stored; None where all are.

        Args:
            dropped: number of samples that were dropped.
            added: number of samples more than the source has, since some are split into parts.
        """
        if not dropped and not self.beyond:
            return None
        stored = self.taken.total()
        parts = [f"{stored} stored"]
        if dropped:
            parts.append(f"{dropped} dropped")
        if self.beyond:
            parts.append(f"{self.beyond} beyond the limit")
        if added:
            parts.append(f"{added} of them from splitting")
        total = stored + dropped + self.beyond - added
        return f"read {plural(total, 'sample')}: {', '.join(parts)}"

    def notes(self, modalities: Iterable[Modality]) -> list[str]:
        lines = []
        total = self.taken.total()
        for m in modalities:
            lacking = total - self.present[m]
            if lacking:
                lines.append(f"{m} is missing in {lacking} of {total} samples")
            if self.lacking[m]:
                lines.append(f"{m} is missing at {self.lacking[m]} of {self.steps[m]} steps")
            if self.taken["train"] and not self.in_train[m]:
                lines.append(f"no sample of the split train has {m}: no model can learn from it")

        if self.unlabelled:
            lines.append(f"the labels of {self.unlabelled} of {total} samples are unknown")
        return lines + self._notes_on_videos()

    def _notes_on_videos(self) -> list[str]:
        videos = Videos(self.split_of)
        lines = [line for line in (videos.note, videos.doubt) if line is not None]

        splits_of: defaultdict[str, set[str]] = defaultdict(set)
        for sample_id, split in self.split_of.items():
            splits_of[videos.of(sample_id)].add(split)

        # a model that saw a video in training knows its speaker
        leaked = [video for video, splits in splits_of.items() if len(splits) > 1]
        if leaked:
            lines.append(f"{len(leaked)} videos have segments in more than one split")
        return lines


def _has_steps(sample: Sample, modality: Modality) -> bool:
    """Whether a sample has a step of a modality that is not missing."""
    if not len(sample.sequences[modality]):
        return False
    return not np.all(sample.missing.get(modality, False))


def _write(
    writer: DatasetWriter,
    reading: Reading,
    order: list[int],
    source: Path,
    *,
    limit: int | None,
    shortened: Shortened | None,
) -> None:
    """Write all samples, then what there is to say about them."""
    tally = _Tally()
    for split, sample in reading.samples:
        if limit is not None and tally.taken[split] >= limit:
            tally.beyond += 1
            continue

        sequences = {m: x for m, x in sample.sequences.items() if _has_steps(sample, m)}
        if not sequences:
            reading.account.drop("sample", "without a modality", sample.id)
            continue

        # from the order of the source to that of the data set
        labels = sample.labels
        if labels is not None and labels.shape == (len(order),):
            labels = labels[order]  # other shapes are refused by the writer

        missing = {m: steps for m, steps in sample.missing.items() if m in sequences}
        stored = replace(sample, sequences=sequences, labels=labels, missing=missing)
        writer.add(split, stored)
        tally.add(split, stored)

    tally.refuse_useless(source, reading.told())

    # what a reader tells is complete only now
    names = _renamed_labels(reading, writer.label_names, order)
    notes = [*reading.told(), *tally.notes(reading.dims)]
    added = 0
    if shortened is not None:
        notes += shortened.notes()
        added = shortened.added
    if names:
        pairs = ", ".join(f"{theirs} -> {ours}" for theirs, ours in names.items())
        notes.append(f"labels renamed: {pairs}")
    if limit is not None:
        notes.append(f"limited to {limit} samples per split")

    summary = tally.summary(reading.account.dropped, added)
    if summary is not None:
        notes.insert(0, summary)
    for line in notes:
        writer.note(encodable(line))
    writer.tell(account={**reading.account.stored(), "labels_renamed": names})


def _renamed_labels(
    reading: Reading, stored: Sequence[str], order: Sequence[int]
) -> dict[str, str]:
    """Return the labels that the source calls otherwise: its name -> ours."""
    own = reading.account.columns
    if own is None or len(own) != len(reading.label_names):
        own = reading.label_names
    return renamed([own[column] for column in order], stored)
