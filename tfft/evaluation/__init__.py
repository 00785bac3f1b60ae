"""Exact metrics over every row."""
