"""The command line: words over the engine."""
