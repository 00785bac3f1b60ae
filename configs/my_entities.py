"""Your own entities (or parts of speech, or slots): copy this file, name your data and its columns, done.

    cp configs/my_entities.py configs/invoices.py
    python -m tfft.plan --config=configs/invoices.py           look first: rows, types, lengths, time
    python -m tfft.train --config=configs/invoices.py --workdir=runs/invoices

Without copying, the variant names a file of one token a line: tfft train --config=my_entities:my.conll
All choices: docs/token_classification.md.
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("token_classification")
    config.name = "my_entities"

    # One token a line, an empty line between sentences: columns by number (also from the end) or by name.
    config.data.train = f"conll:{variant or 'my.conll'}"
    config.data.words_column = "0"
    config.data.tags_column = "-1"

    # Or a file of a sentence a row, words and tags as lists: csv:, jsonl:, json:, parquet:
    # config.data.train = "jsonl:my.jsonl"                     # {"words": ["Ann", "sat"], "tags": ["B-PER", "O"]}
    # config.data.words_column, config.data.tags_column = "words", "tags"

    # Or a csv of a token a row: config.data.sentence_column = "Sentence #"

    # Or texts with spans of characters, as annotation tools write them:
    # config.data.train = "jsonl:my.jsonl"                     # {"text": "Ann sat", "spans": [[0, 3, "PER"]]}
    # config.data.words_column, config.data.text_column, config.data.spans_column = "", "text", "spans"
    # config.data.span_end = "inclusive"                       # where a span's end is its last character
    # config.data.word_split = "characters"                    # Chinese, Japanese, Thai

    config.data.validation = "10%"  # or a file of its own: conll:validation.conll
    config.data.max_length = 128  # in tokens; longer texts are read in windows, nothing is cut off

    # config.data.tags_scheme = "none"       # every word has a tag of its own: parts of speech
    # config.data.label_column = "intent"    # a label of the whole sentence besides
    # config.task.head = "crf"               # whole sequences of tags; slower, and no tag follows one that it cannot follow
    # config.model.backbone = "hf:..."       # names with capitals: a cased model

    config.train.epochs = 5
    config.train.peak_learning_rate = 2e-4
    return config
