"""Cross-validation: a run of each fold, its answers to the rows it did not learn from, and what all runs say together."""
