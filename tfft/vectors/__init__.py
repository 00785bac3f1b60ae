"""Search among vectors: exactly, in blocks, or by an approximate index; and the folder that both lie in."""
