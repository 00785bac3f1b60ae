"""Which backbone is fine-tuned, and how its targets begin and end."""

import keras_hub

from tfft.models.backbone import load_backbone
from tfft.models.encoder_decoder import ENCODERS, encoder_decoder

SHOWN = "decoder_token_ids"  # the model's input that is a target
TOKENIZERS = keras_hub.tokenizers


def load(preset: str, *, precision: str, dropout: float, layers: int, seed: int):
    """An encoder-decoder; one that is made of an encoder is a function of its weights, the layers and the seed."""
    backbone = load_backbone(preset, precision=precision, dropout=dropout)
    return encoder_decoder(backbone, layers, seed) if isinstance(backbone, ENCODERS) else backbone


def start_and_ends(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the tokens that a target stands behind, those that end it): of BART </s> <s>, as it was pretrained, of T5 its padding;
    of an encoder what its texts begin with, [CLS] or <s>."""
    end = int(tokenizer.end_token_id)
    if isinstance(tokenizer, TOKENIZERS.BartTokenizer):
        return (end, int(tokenizer.start_token_id)), (end,)
    if isinstance(tokenizer, TOKENIZERS.T5Tokenizer):
        return (int(tokenizer.pad_token_id),), (end,)
    return (int(tokenizer.start_token_id),), (end,)
