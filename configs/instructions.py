"""GSM8K: word problems with worked answers (Cobbe et al. 2021), as an example of instructions.

    python -m tfft.train --config=configs/instructions.py:path/to/train.jsonl --workdir=runs/instructions

Measured results: docs/results/generation.md. A language model in a GGUF file needs: pip install 'tfft[gguf]'
"""

from tfft.config import SMOLLM2, default_config


def get_config(variant: str = ""):
    config = default_config("causal_lm")
    config.name = "instructions"
    config.data.train = f"jsonl:{variant or 'train.jsonl'}"
    config.data.validation = "5%"
    config.data.prompt_column = "question"
    config.data.response_column = "answer"
    config.data.max_length = 384
    config.model.backbone = SMOLLM2
    config.task.max_new_tokens = 200
    config.adaptation.method = "lora"
    config.train.global_batch_size = 16
    config.train.accumulation = 4  # on the memory of 4 rows; 1 where there is enough
    config.train.epochs = 1
    config.train.peak_learning_rate = 1e-4
    return config
