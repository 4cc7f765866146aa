"""Spoken digits: voices, and what is composed of them for training and measuring."""
