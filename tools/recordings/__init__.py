"""Recordings of every kind, made and read: what is right, and what reading them costs."""
