"""What a cluster costs and survives: `python -m tools.cluster` writes docs/cluster-measured.md."""
