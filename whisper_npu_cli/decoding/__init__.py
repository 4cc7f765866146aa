"""Whisper's rules of decoding: which tokens a window becomes. No arithmetic of the model."""
