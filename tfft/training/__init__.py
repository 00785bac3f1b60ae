"""How to step, on which devices, and what to keep."""
