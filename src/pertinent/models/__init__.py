"""Encoders: backbone, pooling, head and normalisation, with the preprocessing that belongs to them."""
