"""What several tests and the tools of `tools/` make their inputs and models of."""
