"""The parts of the `glyphs` data set: which characters, how they are photographed, what is pictured, and the cache."""
