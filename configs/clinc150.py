"""CLINC150: what a user of an assistant wants, 150 intents.

    python -m tfft.train --config=configs/clinc150.py:path/to/data_full.json

The variant is the path of the data set's JSON file. Measured results: docs/results/quality.md.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "clinc150"
    path = variant or "data_full.json"
    config.data.train = f"json:{path}#train"
    config.data.validation = f"json:{path}#val"
    config.data.test = f"json:{path}#test"
    config.data.text_column = "0"
    config.data.label_column = "1"
    config.data.max_length = 64
    config.task.label_smoothing = 0.1
    config.train.epochs = 6
    config.train.peak_learning_rate = 5e-4
    config.train.layer_decay = 0.85  # the head, which knows nothing yet, learns faster than what is pretrained
    return config
