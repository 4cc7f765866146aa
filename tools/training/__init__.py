"""The demo checkpoint: its training data, model, training and evaluation."""
