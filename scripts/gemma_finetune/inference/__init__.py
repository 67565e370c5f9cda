"""Answering: Keras, TFLite and LiteRT-LM behind one interface, and the chat on top."""
