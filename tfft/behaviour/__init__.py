"""How a model behaves where a text is changed: perturbations, word swaps, tests from a YAML file. Without TensorFlow."""
