"""Your own texts without labels: the backbone learns their words first, and a task with few labels starts from there.

    cp configs/my_corpus.py configs/manuals.py
    python -m tfft.plan --config=configs/manuals.py                look first: rows, lengths, time
    python -m tfft.train --config=configs/manuals.py --workdir=runs/manuals
    python -m tfft.export --workdir=runs/manuals --format=backbone --output=models/manuals

Then --config.model.backbone=models/manuals in any other config. Without copying, the variant names the texts:
python -m tfft.train --config=configs/my_corpus.py:text:corpus.txt
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("masked_lm")
    config.name = "my_corpus"

    config.data.train = variant or "text:my.txt"  # a line a text; files:my/*.txt: a file; .jsonl, .csv, ...
    config.data.text_column = "text"
    config.data.validation = "5%"
    config.data.max_length = 128  # in tokens; longer texts are cut into parts, nothing is left out

    # config.task.hide = "spans"  # whole words ("words"), single tokens ("tokens"), or spans of words
    # config.task.pack = True      # several short texts in a row of max_length, each by itself

    config.train.global_batch_size = 32
    config.train.epochs = 3
    config.train.peak_learning_rate = 1e-4
    config.train.warmup_fraction = 0.06
    return config
