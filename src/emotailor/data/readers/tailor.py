"""The file of TAILOR, HHMPN and CARAT: ``train_valid_test.pt``.

::

    {"train" | "valid" | "test":
        {"src-text": (N, 60, 300), "src-visual": (N, 60, 35), "src-audio": (N, 60, 74),
         "tgt": N lists [2, class ids..., 3]},
     "dict": {"tgt": {class name: id}}, optional}

Without a dictionary, a class id is 4 + its position among happy, sad, anger, surprise, disgust,
fear. Other top-level entries are ignored.
"""

from pathlib import Path

from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.joining.emotions import emotions_by_class
from emotailor.data.readers.joining.joined import Labelled, names_of, reading_of, without_labels
from emotailor.data.readers.joining.splits import key_in, open_splits
from emotailor.errors import DataError


def read_tailor(path: Path, options: ConvertOptions) -> Reading:
    """Open a ``train_valid_test.pt``.

    Raises:
        DataError: the file is missing, damaged or not laid out like this.
    """
    file = open_splits(path)
    if key_in(file.splits, ("tgt",)) is None and options.unlabelled:
        return reading_of(file, without_labels(file), options)
    if key_in(file.splits, ("tgt",)) is None:
        lacking = [split for split, content in file.splits.items() if "tgt" not in content]
        present = ", ".join(map(str, file.splits[lacking[0]]))
        raise DataError(
            f"{path}: split {lacking[0]!r} has no 'tgt'",
            expected=f"class ids of every sample; it has {present[:200]}",
        )

    emotions = emotions_by_class(path, file.content, file.splits, options)
    file.notes += emotions.notes
    rows = {split: list(labels) for split, labels in emotions.rows.items()}
    counts = {split: len(labels) for split, labels in rows.items()}
    labelled = Labelled(emotions.names, names_of(file, counts), rows, [])
    return reading_of(file, labelled, options)
