"""Makers of `tests/golden`, the results of openai-whisper and transformers for the tests."""
