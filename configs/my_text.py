"""Your own texts: a language model learns to continue them.

    cp configs/my_text.py configs/letters.py
    python -m tfft.plan --config=configs/letters.py                look first: rows, lengths, time
    python -m tfft.train --config=configs/letters.py --workdir=runs/letters
    python -m tfft.predict --workdir=runs/letters --prompt='Dear Mr Holm,'

Without copying, the variant names the texts: python -m tfft.train --config=configs/my_text.py:files:letters/*.txt
A language model in a GGUF file needs the package gguf: pip install 'tfft[gguf]'
"""

from tfft.config import SMOLLM2, default_config


def get_config(variant: str = ""):
    config = default_config("causal_lm")
    config.name = "my_text"

    config.data.train = variant or "files:my/*.txt"  # a file a text; text:my.txt: a line; .jsonl, .csv, ...
    config.data.text_column = "text"
    config.data.validation = "5%"
    config.data.max_length = 512   # in tokens; longer texts are cut into parts, nothing is left out
    config.data.window_overlap = 64  # tokens that a part has in common with the one before it, as what came before

    config.model.backbone = SMOLLM2
    # config.task.pack = True  # several short texts in a row of max_length, each by itself
    config.task.max_new_tokens = 128

    config.train.global_batch_size = 16
    config.train.accumulation = 4  # on the memory of 4 rows; 1 where there is enough
    config.train.epochs = 3
    config.train.peak_learning_rate = 5e-5
    return config
