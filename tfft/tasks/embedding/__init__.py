"""Embeddings: texts that belong together lie near each other."""
