"""Activation-aware scaling of the weights before quantization (AWQ)."""
