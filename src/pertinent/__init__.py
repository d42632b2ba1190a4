"""Pertinent: train, evaluate, embed, index, search and serve image retrieval."""
