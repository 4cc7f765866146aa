"""Audio of any length: windows in, segments out."""
