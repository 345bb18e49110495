"""From a text to its words: one rule for all encoders, and part of what their features mean.

1. HTML entities become their characters: ``&amp;`` is ``&``.
2. U+FFFD, which stands for a character that was lost, is read as an apostrophe between two letters
   and left out elsewhere. Halves of a character are left out.
3. Words are what white space separates. Case and punctuation stay.
"""

import html
import re

RULE = "white space"
"""Name of the rule in the settings of an encoder; another rule has another name."""

LONGEST = 100_000
"""Most words of a text: what is longer is no utterance, and has to be divided first."""

_LOST_APOSTROPHE = re.compile("(?<=[^\\W\\d_])\ufffd(?=[^\\W\\d_])")
_LOST = re.compile("[\ufffd\ud800-\udfff]")


def words_of(text: str) -> list[str]:
    """Return the words of a text; none where it is empty.

    Args:
        text: as it was written; it may hold HTML entities and characters that were lost.
    """
    readable = html.unescape(text)
    readable = _LOST_APOSTROPHE.sub("'", readable)
    readable = _LOST.sub("", readable)
    return readable.split()
