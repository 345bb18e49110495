"""What is said becomes words by one rule, whatever a file makes of it."""

import pytest

from emotailor.encoders import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What a day!", ["What", "a", "day!"]),
        ("", []),
        (" \t\n\u00a0 ", []),
        ("left &amp; right", ["left", "&", "right"]),
        ("&lt;&lt;Laughter&gt;&gt; yes&nbsp;no", ["<<Laughter>>", "yes", "no"]),
        ("R&D &unknown; &#39;", ["R&D", "&unknown;", "'"]),
        # an apostrophe was lost between letters, a quotation mark at the ends of words
        ("isn\ufffdt \ufffdwe TLC,\ufffd", ["isn't", "we", "TLC,"]),
        ("a \ufffd b", ["a", "b"]),
        ("half \ud83d pair", ["half", "pair"]),
        ("été 日本 😀", ["été", "日本", "😀"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words
