"""Intents and slots (ATIS, SNIPS and their like): a label of the whole sentence and tags of its words, one model.

    python -m tfft.train --config=configs/slots.py:path/to/folder --workdir=runs/slots

The variant is a folder with train, valid and test, each with three files whose lines belong together:

    seq.in    flights from boston to denver
    seq.out   O O B-fromloc.city_name O B-toloc.city_name
    label     atis_flight
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("token_classification")
    config.name = "slots"
    folder = variant or "atis"

    def files(split: str) -> str:
        return "parallel:" + ",".join(f"{folder}/{split}/{name}" for name in ("seq.in", "seq.out", "label"))

    config.data.train, config.data.validation, config.data.test = files("train"), files("valid"), files("test")
    config.data.label_column = "label"
    config.data.word_split = "whitespace"  # running text is split as these files are
    config.data.max_length = 64
    config.task.label_weight = 1.0  # of the sentence label's loss, beside the mean of its words'
    config.eval.metric = "exact"  # intent and all slots right
    config.train.epochs = 10
    config.train.peak_learning_rate = 2e-4
    return config
