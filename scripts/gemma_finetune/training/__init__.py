"""LoRA fine-tuning with Keras 3 on JAX."""
