"""STS-B by embeddings: how similar two sentences are as the cosine of their vectors.

    python -m tfft.train --config=configs/stsb_embedding.py:path/to/folder --workdir=runs/stsb_embedding

The variant is a folder with sts-train.tsv, sts-dev.tsv and sts-test.tsv (no header, unquoted, 7 or 9 fields). configs/stsb.py
reads both sentences at once instead, which is no use for search.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("embedding")
    config.name = "stsb_embedding"
    folder = variant or "stsb"
    config.data.train = f"tsv:{folder}/sts-train.tsv"
    config.data.validation = f"tsv:{folder}/sts-dev.tsv"
    config.data.test = f"tsv:{folder}/sts-test.tsv"
    config.data.header = False
    config.data.text_column = "5"
    config.data.text_pair_column = "6"
    config.data.score_column = "4"
    config.data.max_length = 128
    config.train.global_batch_size = 32
    config.train.epochs = 4
    config.train.peak_learning_rate = 5e-5
    return config
