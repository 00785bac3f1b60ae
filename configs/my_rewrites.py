"""Your own texts with what is to be written of each: summaries, translations, headlines. An encoder-decoder learns it.

    cp configs/my_rewrites.py configs/headlines.py
    python -m tfft.plan --config=configs/headlines.py               look first: rows, lengths, time
    python -m tfft.train --config=configs/headlines.py --workdir=runs/headlines
    python -m tfft.predict --workdir=runs/headlines --text='The council met on Monday and ...'
    python -m tfft.export --workdir=runs/headlines

Without copying, the variant names the file: python -m tfft.train --config=configs/my_rewrites.py:csv:news.csv
"""

from tfft.config import MINILM, default_config


def get_config(variant: str = ""):
    config = default_config("seq2seq")
    config.name = "my_rewrites"

    config.data.train = variant or "csv:my.csv"
    config.data.source_column = "source"
    config.data.target_column = "target"
    config.data.validation = "10%"
    config.data.max_length = 256         # of a longer source the end is cut off
    config.data.max_target_length = 64   # in tokens, too

    config.model.backbone = MINILM       # an encoder gets a decoder made of its own layers; BART and T5 have theirs
    # config.data.prefix = "summarize: " # as T5 was pretrained
    config.task.max_new_tokens = 64
    config.task.beams = 4

    config.train.global_batch_size = 16
    config.train.epochs = 10
    config.train.peak_learning_rate = 3e-4
    return config
