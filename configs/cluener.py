"""CLUENER2020: Chinese entities of 10 types, in news (Xu et al. 2020), by characters.

    python -m tfft.train --config=configs/cluener.py:path/to/folder --workdir=runs/cluener
    python -m tfft.train --config=configs/cluener.py:path/to/folder --workdir=runs/cluener-crf --config.task.head=crf

The variant is a folder with train.json and dev.json, JSON objects one after another:

    {"text": "浙商银行叶老桂博士", "label": {"name": {"叶老桂": [[4, 6]]}, "company": {"浙商银行": [[0, 3]]}}}

The encoder is multilingual; its embeddings, 96 of its 118 million weights, are not trained.
Measured results: docs/results/quality.md.
"""

from tfft.config import MULTILINGUAL, default_config


def get_config(variant: str = ""):
    config = default_config("token_classification")
    config.name = "cluener"
    folder = variant or "cluener2020"
    config.model.backbone = MULTILINGUAL
    config.model.freeze_embeddings = True
    config.data.train = f"json:{folder}/train.json"
    config.data.validation = f"json:{folder}/dev.json"
    config.data.words_column = ""
    config.data.text_column = "text"
    config.data.spans_column = "label"
    config.data.span_end = "inclusive"
    config.data.word_split = "characters"
    config.data.max_length = 64  # texts have at most 50 characters
    config.train.epochs = 3
    config.train.peak_learning_rate = 2e-4
    return config
