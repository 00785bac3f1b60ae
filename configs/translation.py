"""English to German: Django's catalogues, short texts of a user interface.

    pip download --no-deps django==5.2.8
    python tools/make_translations.py --wheel=django-5.2.8-py3-none-any.whl --languages=de --output=django.jsonl
    python -m tfft.train --config=configs/translation.py:django.jsonl --workdir=runs/translation
    python -m tfft.predict --workdir=runs/translation --prompt='Change password'

A language model learns it from 600 rows (pip install 'tfft[gguf]'). With the variant encoder:django.jsonl it is an
encoder-decoder made of a multilingual encoder (Rothe et al. 2020), which wants many more. Measured results:
docs/results/generation.md.
"""

from tfft.config import MULTILINGUAL, SMOLLM2, default_config


def get_config(variant: str = ""):
    kind, _, path = variant.partition(":")
    encoder = kind == "encoder"
    config = _encoder_decoder() if encoder else _language_model()
    config.name = "translation"
    config.data.train = f"jsonl:{(path if encoder else variant) or 'django.jsonl'}"
    config.data.validation = "15%"
    config.task.max_new_tokens = 64
    config.train.global_batch_size = 16
    config.train.peak_learning_rate = 3e-4
    config.eval.metric = "chrf"
    return config


def _language_model():
    config = default_config("causal_lm")
    config.data.prompt_column = "en"
    config.data.response_column = "de"
    config.data.max_length = 192
    config.model.backbone = SMOLLM2
    config.task.system = "Translate into German."
    config.adaptation.method = "lora"
    config.train.epochs = 4
    return config


def _encoder_decoder():
    config = default_config("seq2seq")
    config.data.source_column = "en"
    config.data.target_column = "de"
    config.data.max_length = 96
    config.data.max_target_length = 96
    config.model.backbone = MULTILINGUAL
    config.model.frozen_layers = 1       # and with it the embeddings of 250,000 tokens, most of them of other languages
    config.task.decoder_layers = 6
    config.train.epochs = 20
    return config
