"""CoNaLa: a line of Python from a sentence (Yin et al. 2018).

    python -m tfft.train --config=configs/code.py:path/to/conala-train.json --workdir=runs/code
    python -m tfft.predict --workdir=runs/code --prompt='sort list `x` in reverse'

Measured results: docs/results/generation.md.

All rows on one question are on one side of the split. A language model in a GGUF file needs: pip install 'tfft[gguf]'
"""

from tfft.config import SMOLLM2, default_config


def get_config(variant: str = ""):
    config = default_config("causal_lm")
    config.name = "code"
    config.data.train = f"json:{variant or 'conala-train.json'}"
    config.data.validation = "15%"
    config.data.id_column = "question_id"
    config.data.prompt_column = "rewritten_intent"  # null in 79 of 2,378 rows, which are left out
    config.data.response_column = "snippet"
    config.data.on_broken_row = "skip"
    config.data.max_length = 192
    config.model.backbone = SMOLLM2
    config.task.max_new_tokens = 64
    config.adaptation.method = "lora"
    config.train.global_batch_size = 16
    config.train.accumulation = 4  # on the memory of 4 rows; 1 where there is enough
    config.train.epochs = 3
    config.train.peak_learning_rate = 1e-4
    config.eval.metric = "bleu"
    return config
