"""Settings of models, training and runs; none of them needs torch."""
