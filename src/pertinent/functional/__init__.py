"""The mathematics: pure functions of tensors, without classes, files or state."""
