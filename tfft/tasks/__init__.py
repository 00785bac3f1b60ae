"""What to compute: one folder a task, each joining data and models. fields.py and table.py list them."""
