"""Masked words: what was hidden of texts is guessed."""
