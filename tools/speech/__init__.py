"""Spoken digits: voices, and audio composed of them for training and measuring."""
