"""The pickles of MMSA: ``aligned_50.pkl`` and ``unaligned_50.pkl``.

    {"train" | "valid" | "test":
        {"text": (N, 50, 768), "audio": (N, T, 74), "vision": (N, T, 35), "id": N video$_$clip,
         "audio_lengths", "vision_lengths", "text_lengths": N real lengths, optional,
         "text_bert": (N, 3, 50), token ids, mask of the real tokens, segment ids; optional,
         "regression_labels": N, the sentiment; "raw_text": N texts,
         "tgt": N lists [2, class ids..., 3], where LDDU added them}}

Emotions come from the file itself, where it has them, or from a label file. Its ids count the clips
of the raw transcript; see :mod:`emotailor.data.readers.joining.join`.
"""

from pathlib import Path

from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.joining.joined import read_joined


def read_mmsa(path: Path, options: ConvertOptions) -> Reading:
    """Open an MMSA pickle, with its own emotions or those of a label file.

    Raises:
        DataError: the file is missing, damaged or not laid out like this; there are no emotions; or
            the label file fits no sample, or contradicts the sentiment.
    """
    return read_joined(path, options)
