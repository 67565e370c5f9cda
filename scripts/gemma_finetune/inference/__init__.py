"""Chatting with a model: Keras, TFLite and LiteRT-LM behind one interface."""
