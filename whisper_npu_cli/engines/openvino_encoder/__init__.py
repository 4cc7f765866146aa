"""The encoder on OpenVINO: for CPUs, and for what else OpenVINO drives."""
