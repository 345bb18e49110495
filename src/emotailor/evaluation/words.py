"""Linear baselines that read the words of a data set: what a neural text system must beat.

- ``mean word vector`` is one logistic regression per label on the mean of the word vectors. Where
  the data have one vector for each text, it is called ``sentence vector``.
- ``TF-IDF`` is one on the words themselves and their pairs, as scikit-learn weighs them.
- ``linear union`` is one on both, and on mean and deviation of every other modality.

The strength of each is chosen on the validation split. In the union, each part is scaled so that
the common strength means to it what its own best one does; then the common one is chosen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotailor.data.dataset import Split
from emotailor.data.sample import Modality
from emotailor.evaluation.linear import STRENGTHS, Features, Scores, best_fit

WORDS = "mean word vector"
SENTENCE = "sentence vector"
TFIDF = "TF-IDF"
UNION = "linear union"

TFIDF_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse strengths that are tried for TF-IDF, whose rows have the length 1."""

UNION_STEPS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Those for the union, in multiples of the strength that is best for word vectors alone."""

PAIRS = (1, 2)  # single words, and two words in a row
LEAST_TEXTS = 2  # texts that a word or a pair must be in
MOST_TERMS = 200_000  # the most frequent ones; bounds memory on data of any size


def word_regressions(
    features: Features,
    splits: tuple[Split, Split, Split],
    columns: Mapping[Modality, slice],
) -> dict[str, Scores]:
    """Return the regressions on words by name; none where nobody knows the words of a split.

    Args:
        features: pooled features of all modalities; one dense matrix for each split.
        splits: the same samples: fitted on, chosen on, judged on.
        columns: modality -> its columns: the means of its features, then as many deviations.
    """
    texts = [[split.text(index) for index in range(len(split))] for split in splits]
    terms = _tfidf(texts)
    if terms is None:
        return {}

    text = columns["text"]
    means = slice(text.start, (text.start + text.stop) // 2)
    vectors = [part[0][:, means] for part in features.parts]
    of_words = best_fit(features.with_parts(*[[part] for part in vectors]), STRENGTHS)
    of_terms = best_fit(features.with_parts(*[[part] for part in terms]), TFIDF_STRENGTHS)

    # a part that is multiplied by s is penalised as by C s²
    scale = np.sqrt(of_terms.strength / of_words.strength)
    others = [place for m, place in columns.items() if m != "text"]
    joined = []
    for part, vector, term in zip(features.parts, vectors, terms, strict=True):
        pooled = [part[0][:, place] for place in others]
        joined.append([np.hstack([vector, *pooled]), term * scale])

    strengths = [step * of_words.strength for step in UNION_STEPS]
    of_all = best_fit(features.with_parts(*joined), strengths)

    longest = int(splits[0].lengths("text").max())
    of_vectors = SENTENCE if longest <= 1 else WORDS
    return {of_vectors: of_words, TFIDF: of_terms, UNION: of_all}


def _tfidf(texts: Sequence[Sequence[str]]) -> list[Any] | None:
    """Return the weights of the terms in each text, a sparse matrix (n, terms) for each split.

    None where nobody knows the words of a split, or where no term is in two texts of the first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not all(any(lines) for lines in texts):
        return None

    vectorizer = TfidfVectorizer(
        ngram_range=PAIRS,
        min_df=LEAST_TEXTS,
        max_features=MOST_TERMS,
        sublinear_tf=True,
    )
    train, *others = texts
    try:
        first = vectorizer.fit_transform(train)
    except ValueError:  # no term is left: the texts have nothing in common
        return None
    return [first, *map(vectorizer.transform, others)]
