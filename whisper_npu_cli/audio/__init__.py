"""What is heard: inputs to samples at 16 kHz, and samples to log-mel windows."""
