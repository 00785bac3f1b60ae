"""How the targets of a backbone begin and end."""

import keras_hub

SHOWN = "decoder_token_ids"  # the model's input that is a target
TOKENIZERS = keras_hub.tokenizers


def start_and_ends(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the tokens that a target stands behind, those that end it): of BART </s> <s>, as it was pretrained, of T5 its padding;
    of an encoder what its texts begin with, [CLS] or <s>."""
    end = int(tokenizer.end_token_id)
    if isinstance(tokenizer, TOKENIZERS.BartTokenizer):
        return (end, int(tokenizer.start_token_id)), (end,)
    if isinstance(tokenizer, TOKENIZERS.T5Tokenizer):
        return (int(tokenizer.pad_token_id),), (end,)
    return (int(tokenizer.start_token_id),), (end,)
