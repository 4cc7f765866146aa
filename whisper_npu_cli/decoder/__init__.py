"""The text decoder: engines behind `base.Decoder`, token rules, and the search."""
