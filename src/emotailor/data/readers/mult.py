"""The pickles of MulT: ``mosei_senti_data.pkl`` and ``mosei_senti_data_noalign.pkl``.

    {"train" | "valid" | "test":
        {"vision": (N, T, 35), "audio": (N, T, 74), "text": (N, T, 300),
         "labels": (N, 1, 1), sentiment alone; or (N, 6), the emotions; or (N, 7), both,
         "id": (N, 3), video, start and end seconds; or (N, 1) or (N,), video[k]}}

``mosei_emotion_aligned_60.pkl`` and ``mosei_emo_data.pkl`` have the emotions in ``labels``,
``iemocap_data.pkl`` has (N, 4, 2), no and yes for each of four. Other files need a label file.
"""

from pathlib import Path

from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.joining.joined import read_joined


def read_mult(path: Path, options: ConvertOptions) -> Reading:
    """Open a MulT pickle, with its own emotions or those of a label file.

    Raises:
        DataError: the file is missing, damaged or not laid out like this; there are no emotions; or
            the label file fits no sample.
    """
    return read_joined(path, options)
