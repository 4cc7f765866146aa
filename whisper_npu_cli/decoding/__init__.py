"""Whisper's rules of decoding, which turn a window into tokens. The engines compute the model."""
