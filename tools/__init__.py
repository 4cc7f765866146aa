"""What only development needs, run from the checkout as `python -m tools.PART.NAME`."""
