"""STS-B: how similar two sentences are, 0 to 5.

    python -m tfft.train --config=configs/stsb.py:path/to/folder

The variant is a folder with sts-train.tsv, sts-dev.tsv and sts-test.tsv (no header, unquoted, 7 or 9 fields). Measured results:
docs/results/quality.md.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "stsb"
    folder = variant or "stsb"
    config.data.train = f"tsv:{folder}/sts-train.tsv"
    config.data.validation = f"tsv:{folder}/sts-dev.tsv"
    config.data.test = f"tsv:{folder}/sts-test.tsv"
    config.data.header = False
    config.data.text_column = "5"
    config.data.text_pair_column = "6"
    config.data.label_column = "4"
    config.data.max_length = 128
    config.task.problem = "regression"
    config.model.dropout = 0.0  # a number is learnt better without noise
    config.model.head_dropout = 0.0
    config.train.epochs = 6
    config.train.peak_learning_rate = 2e-4
    return config
