"""Where there is speech: samples to spans of speech, block by block."""
