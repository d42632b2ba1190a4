"""Training, embedding, evaluation and search: the only place that joins data, models, losses and metrics."""
