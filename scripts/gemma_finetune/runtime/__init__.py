"""The exported model on the LiteRT runtime: token ids in, logits out."""
