"""Summary lines of docstrings, by a language model: tools/make_summaries.py makes the rows of Python's own library.

    python tools/make_summaries.py --output=docstrings.jsonl
    python -m tfft.train --config=configs/summaries.py:docstrings.jsonl --workdir=runs/summaries

Measured results: docs/results/generation.md. A language model in a GGUF file needs: pip install 'tfft[gguf]'
"""

from tfft.config import SMOLLM2, default_config


def get_config(variant: str = ""):
    config = default_config("causal_lm")
    config.name = "summaries"
    config.data.train = f"jsonl:{variant or 'docstrings.jsonl'}"
    config.data.validation = "15%"
    config.data.id_column = "module"  # rows of one file are on one side of the split
    config.data.prompt_column = "source"
    config.data.response_column = "target"
    config.data.max_length = 320
    config.model.backbone = SMOLLM2
    config.task.system = "Write the summary line of this docstring."
    config.task.max_new_tokens = 40
    config.adaptation.method = "lora"
    config.train.global_batch_size = 16
    config.train.accumulation = 4  # on the memory of 4 rows; 1 where there is enough
    config.train.epochs = 2
    config.train.peak_learning_rate = 1e-4
    config.eval.metric = "rougeL"
    return config
