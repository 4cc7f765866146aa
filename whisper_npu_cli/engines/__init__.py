"""What computes: encoders and decoders behind two protocols, and the table of them."""
