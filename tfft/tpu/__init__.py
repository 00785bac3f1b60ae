"""A TPU seen from a machine without one: its figures, the step lowered for it, and what its compiler says of the step."""
