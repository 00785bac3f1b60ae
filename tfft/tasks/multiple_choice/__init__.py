"""Multiple choice and answer selection: candidates of a question, each scored together with it."""
