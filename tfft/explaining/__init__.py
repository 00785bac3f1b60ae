"""Why a run's model answers as it does: what each word of a text adds to the answer or takes from it."""
