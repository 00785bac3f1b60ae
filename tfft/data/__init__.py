"""From files to batches: sources, splits, token store, plan, pipeline."""
