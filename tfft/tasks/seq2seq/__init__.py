"""Encoder-decoders: a text is read and another one written."""
