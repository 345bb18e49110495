"""From videos to features: pictures, sound and words of one decoding pass, cut into utterances.

What is needed beyond the core comes with ``pip install "emotailor[video]"``, and is imported where
it is used.
"""
