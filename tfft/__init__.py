"""tfft: fine-tuning for pretrained Transformers on TensorFlow and Keras."""

import os

__version__ = "0.1.0"

os.environ["KERAS_BACKEND"] = "tensorflow"  # before anyone imports keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters of the C++ runtime's messages is also raised in Python
