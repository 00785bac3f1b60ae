"""What tasks have in common whose answers are texts that a model writes, token by token."""
