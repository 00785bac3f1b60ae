"""GoEmotions: the emotions in a Reddit comment, several of 28 at once.

    python -m tfft.train --config=configs/goemotions.py:path/to/folder

The variant is a folder with train.tsv, dev.tsv, test.tsv (text, label ids joined by commas, comment id) and labels.txt.
Measured results: docs/results/quality.md.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "goemotions"
    folder = variant or "goemotions"
    config.data.train = f"tsv:{folder}/train.tsv"
    config.data.validation = f"tsv:{folder}/dev.tsv"
    config.data.test = f"tsv:{folder}/test.tsv"
    config.data.header = False
    config.data.text_column = "0"
    config.data.label_column = "1"
    config.data.id_column = "2"
    config.data.labels_file = f"{folder}/labels.txt"
    config.data.max_length = 64
    config.task.problem = "multi_label"
    config.train.epochs = 3
    config.train.global_batch_size = 64
    config.train.peak_learning_rate = 4e-4
    return config
