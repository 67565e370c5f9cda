"""What the files hold: weights, adapters, tokenizers, the chat template, TFLite models, bundles.

Nothing here runs a model.
"""
