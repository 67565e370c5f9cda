"""The base model and the adapter on it."""
