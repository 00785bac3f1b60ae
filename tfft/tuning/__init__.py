"""Hyperparameter search: a study of trials, each of which is a run in a process of its own."""
