"""Your own texts that belong together, for search: copy this file, name your file and its columns, done.

    cp configs/my_pairs.py configs/manuals_search.py
    python -m tfft.plan --config=configs/manuals_search.py            look first: rows, lengths, time
    python -m tfft.train --config=configs/manuals_search.py --workdir=runs/search

Without copying, the variant names the file: python -m tfft.train --config=configs/my_pairs.py:pairs.jsonl
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("embedding")
    config.name = "my_pairs"

    config.data.train = variant or "my.jsonl"  # .jsonl, .json, .csv, .tsv, .parquet
    config.data.text_column = "text"  # the query
    config.data.text_pair_column = "text_pair"  # the text that it should find, or a list of several
    config.data.validation = "10%"  # or a file of its own
    config.data.max_length = 128  # in tokens

    # config.data.negative_columns = ("negative",)  # like the query, but wrong: a text or a list, may be empty
    # config.data.score_column = "score"            # how alike the two are, a number: similarity instead of search
    # config.task.query_prompt = "query: "          # what the backbone was pretrained with, as E5 was
    # config.task.passage_prompt = "passage: "
    # config.task.matryoshka = (64, 128)            # vectors can be cut to so many values

    config.train.global_batch_size = 64  # each row is told apart from all others of its batch
    # config.train.global_batch_size, config.train.accumulation = 1024, 32  # on the memory of 32 rows
    config.train.epochs = 3
    config.train.peak_learning_rate = 5e-5
    return config
