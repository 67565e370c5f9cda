"""The training side of the model: loading it, and the adapter on it."""
