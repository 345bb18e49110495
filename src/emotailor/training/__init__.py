"""The training loop, its optimizers, checkpoints and the folder of a trained model."""
