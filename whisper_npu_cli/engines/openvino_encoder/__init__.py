"""The encoder on OpenVINO: for CPUs and the other devices that OpenVINO drives."""
