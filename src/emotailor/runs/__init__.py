"""One run: planning, training, evaluating and predicting."""
