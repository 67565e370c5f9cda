"""What the files hold: weights, adapters, tokenizers, chat template, TFLite models and bundles.
Runs no model.
"""
