"""SQuAD: questions on paragraphs of Wikipedia (Rajpurkar et al. 2016; 2.0, with questions that have no answer, 2018).

    python -m tfft.train --config=configs/squad.py:path/to/folder --workdir=runs/squad
    python -m tfft.train --config=configs/squad.py:train.json,dev.json --workdir=runs/squad

Measured results: docs/results/quality.md.

The variant is a folder with train-v1.1.json and dev-v1.1.json (or v2.0), or the names of two such files.
"""

import os

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("question_answering")
    config.name = "squad"
    train, comma, dev = variant.partition(",")
    if not comma:
        folder = variant or "squad"
        version = "v2.0" if os.path.exists(os.path.join(os.path.expanduser(folder), "train-v2.0.json")) else "v1.1"
        train, dev = f"{folder}/train-{version}.json", f"{folder}/dev-{version}.json"
    config.data.train = f"squad:{train}"
    config.data.validation = f"squad:{dev}"
    config.data.max_length = 256
    config.train.global_batch_size = 16
    config.train.epochs = 3
    config.train.peak_learning_rate = 2e-4
    return config
