"""Videos, sounds, pictures and texts: what they are called, and what to do with them today.

Features come from other programs. Who names a video where features are needed is told so, instead
of that the file is damaged.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from emotailor.data.readers._sniff import kind_of
from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.inputs import not_a_file

_SUFFIXES = {
    "a video": "mp4 m4v mov avi mkv webm mpg mpeg vob wmv flv 3gp ogv ts mts m2ts mxf h264 264 "
    "hevc h265 265",
    "a sound": "wav mp3 flac ogg oga opus m4a aac wma aif aiff amr",
    "a picture": "jpg jpeg png gif bmp tif tiff webp heic svg",
    "a text": "txt md srt vtt rtf doc docx odt pdf html htm eaf textgrid",
}
_BY_SUFFIX = {f".{end}": what for what, ends in _SUFFIXES.items() for end in ends.split()}
_BY_CONTENT = {
    "an MP4 video": "a video",
    "a RIFF file (WAV, AVI)": "a video or a sound",
    "a Matroska file": "a video or a sound",
    "an Ogg file": "a video or a sound",
    "a FLAC file": "a sound",
    "a PNG image": "a picture",
    "a JPEG image": "a picture",
    "a GIF image": "a picture",
    "a PDF": "a text",
}
_LIKE_VIDEOS = (".heic", ".webp")
"""Pictures whose first bytes are those of a video."""

_ADDRESS = re.compile(r"[a-z]+:/")

EXTRACTORS: Mapping[Modality, str] = {
    "visual": "OpenFace or FACET from the frames",
    "audio": "COVAREP or openSMILE from the sound",
    "text": "GloVe vectors or BERT from the words of a transcript",
}
"""Modality -> what makes its features, as the papers do it."""

DOCS = "docs/prediction.md, From a video"


def media_of(path: Path) -> str | None:
    """Return what a path is, such as ``a video``; None where it is none of these."""
    if _ADDRESS.match(str(path)):
        return "an address in the web"
    by_name = _BY_SUFFIX.get(path.suffix.lower())
    is_certain = by_name in ("a video", "a sound") or path.suffix.lower() in _LIKE_VIDEOS
    if is_certain or not_a_file(path) is not None:
        return by_name
    # a video may have the name of a text or a picture
    return _BY_CONTENT.get(kind_of(path), by_name)


def refuse_media(path: Path, dims: Mapping[Modality, int] | None = None) -> None:
    """Refuse a video, a sound, a picture or a text where features are needed.

    Args:
        path: what somebody named.
        dims: modality -> width of the features that are needed, where that is known.

    Raises:
        DataError: it is one of these; the message says how to come to features.
    """
    what = media_of(path)
    if what is None:
        return

    wanted = EXTRACTORS if dims is None else {m: EXTRACTORS[m] for m in dims}
    expected = "numbers that other programs extracted from it (features)"
    if dims is not None:
        widths = ", ".join(f"{m} of width {width}" for m, width in dims.items())
        expected = f"the features that the model was trained on: {widths}"

    sources = "; ".join(f"{m} with {program}" for m, program in wanted.items())
    raise DataError(
        f"{path} is {what}",
        expected=expected,
        fix=f"extract them first: {sources}. Then `emotailor data convert FOLDER --out DATA` reads "
        f"what these programs write, and `emotailor predict RUN DATA` predicts: see {DOCS}",
    )
