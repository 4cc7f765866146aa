"""What openai-whisper and transformers compute, as files in `tests/golden` for the tests."""
