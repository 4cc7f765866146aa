"""Speech detection: blocks of samples in, spans of speech out."""
