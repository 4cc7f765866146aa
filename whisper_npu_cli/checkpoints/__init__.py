"""From the name of a model to its dimensions, tensors and tokenizer."""
