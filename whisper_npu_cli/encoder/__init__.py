"""Encoders: one module an engine, all behind `base.Encoder`."""
