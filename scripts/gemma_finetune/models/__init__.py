"""The model in Keras: loading it, and the adapter on it."""
