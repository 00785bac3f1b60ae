"""English to German by an encoder-decoder that is made of a multilingual encoder (Rothe et al. 2020).

    pip download --no-deps django==5.2.8
    python tools/make_translations.py --wheel=django-5.2.8-py3-none-any.whl --languages=de --output=django.jsonl
    python -m tfft.train --config=configs/translation.py:django.jsonl --workdir=runs/translation

Measured results: docs/results/generation.md.
"""

from tfft.config import MULTILINGUAL, default_config


def get_config(variant: str = ""):
    config = default_config("seq2seq")
    config.name = "translation"
    config.data.train = f"jsonl:{variant or 'django.jsonl'}"
    config.data.validation = "15%"
    config.data.source_column = "en"
    config.data.target_column = "de"
    config.data.max_length = 96
    config.data.max_target_length = 96
    config.model.backbone = MULTILINGUAL
    config.model.frozen_layers = 1       # and with it the embeddings of 250,000 tokens, most of them of other languages
    config.task.decoder_layers = 6
    config.task.max_new_tokens = 64
    config.train.global_batch_size = 16
    config.train.epochs = 20
    config.train.peak_learning_rate = 3e-4
    config.eval.metric = "chrf"
    return config
