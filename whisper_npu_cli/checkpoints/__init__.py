"""Names of models to dimensions, tensors and tokenizers."""
