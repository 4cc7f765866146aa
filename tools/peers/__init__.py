"""This program beside its peers, and beside what it was: accuracy, speed and memory."""
