"""Extractive question answering: the answer to a question is a span of characters of its context."""
