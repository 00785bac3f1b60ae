"""From a run that embeds to search: a corpus to an index, queries to results, hard negatives, re-ranking."""
