"""WNUT-17: emerging and rare entities in posts on the web, of 6 types (Derczynski et al. 2017).

    python -m tfft.train --config=configs/wnut17.py:path/to/folder --workdir=runs/wnut17
    python -m tfft.train --config=configs/wnut17.py:path/to/folder --workdir=runs/wnut17-crf --config.task.head=crf

The variant is a folder with wnut17train.conll, emerging.dev.conll and emerging.test.annotated.
Measured results: docs/results/quality.md.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("token_classification")
    config.name = "wnut17"
    folder = variant or "wnut17"
    config.data.train = f"conll:{folder}/wnut17train.conll"
    config.data.validation = f"conll:{folder}/emerging.dev.conll"
    config.data.test = f"conll:{folder}/emerging.test.annotated"
    config.data.words_column = "0"
    config.data.tags_column = "1"
    config.data.max_length = 128
    config.train.epochs = 5
    config.train.peak_learning_rate = 2e-4
    return config
