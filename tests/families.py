"""One tiny random model and tokenizer of every encoder family: 2 layers, width 8, a vocabulary of a few dozen tokens."""

import functools
import io

import keras_hub
import numpy as np
import sentencepiece
import tensorflow as tf

SENTENCES = ["the film was good", "a bad film, the poor film", "fine film was the good a poor",
             "good and bad and fine was fair", "the actors were as poor as the film was", "was it good or bad"]
WORDPIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "bad", "fine", "a", "poor", "##s",
              ",", "."]
LAYERS, WIDTH, POSITIONS = 2, 8, 32
COMMON = {"num_layers": LAYERS, "num_heads": 2, "hidden_dim": WIDTH, "intermediate_dim": 16, "max_sequence_length": POSITIONS}


@functools.cache
def sentencepiece_model(**pieces) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=32,
                                             model_type="unigram", hard_vocab_limit=False, minloglevel=2, **pieces)
    return model.getvalue()


def roberta_tokenizer():
    """Byte-level BPE: every byte is a token, and a few merges make words."""
    from keras_hub.src.tokenizers.byte_pair_tokenizer import bytes_to_unicode

    merges = ["Ġ f", "i l", "il m", "Ġf ilm", "g o", "o d", "go od"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode()[1], *(m.replace(" ", "") for m in merges), "<mask>"]
    return keras_hub.models.RobertaTokenizer(vocabulary={t: i for i, t in enumerate(tokens)}, merges=merges)


def albert_tokenizer():
    return keras_hub.models.AlbertTokenizer(proto=sentencepiece_model(
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", unk_piece="<unk>", bos_piece="[CLS]", eos_piece="[SEP]",
        user_defined_symbols="[MASK]"))


def deberta_tokenizer():
    return keras_hub.models.DebertaV3Tokenizer(proto=sentencepiece_model(
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]"))


def xlm_roberta_tokenizer():
    return keras_hub.models.XLMRobertaTokenizer(proto=sentencepiece_model(unk_id=0, bos_id=1, eos_id=2))


def word_piece_tokenizer(kind):
    return kind(vocabulary=WORDPIECES, lowercase=True)


models = keras_hub.models
# name -> (backbone class, its own settings, makes the tokenizer, whether the backbone has a pooler)
FAMILIES = {
    "bert": (models.BertBackbone, {}, lambda: word_piece_tokenizer(models.BertTokenizer), True),
    "distilbert": (models.DistilBertBackbone, {}, lambda: word_piece_tokenizer(models.DistilBertTokenizer), False),
    "electra": (models.ElectraBackbone, {"embedding_dim": 4}, lambda: word_piece_tokenizer(models.ElectraTokenizer), True),
    "albert": (models.AlbertBackbone, {"embedding_dim": 4, "num_groups": 2}, albert_tokenizer, True),
    "roberta": (models.RobertaBackbone, {}, roberta_tokenizer, False),
    "xlm_roberta": (models.XLMRobertaBackbone, {}, xlm_roberta_tokenizer, False),
    "deberta_v3": (models.DebertaV3Backbone, {"bucket_size": 8}, deberta_tokenizer, False),
}


def tokenizer(family: str):
    """A new tokenizer. Not one for the session: tf.random.set_seed, which other tests call, clears TensorFlow's kernel
    cache, and with it goes the model that a SentencePiece tokenizer made before holds."""
    return FAMILIES[family][2]()


def backbone(family: str, dropout: float = 0.1, seed: int = 3, precision: str = "float32", layers: int = LAYERS):
    """A new backbone of the family, the same random weights for the same seed (drawn without TensorFlow's own seed)."""
    kind, settings, _, _ = FAMILIES[family]
    size = tokenizer(family).vocabulary_size()
    sizes = {"vocab_size": size} if family == "electra" else {"vocabulary_size": size}
    made = kind(**sizes, **{**COMMON, "num_layers": layers}, **settings, dropout=dropout, dtype=precision)
    draw = np.random.default_rng(seed)
    for variable in made.trainable_variables:
        variable.assign(draw.normal(1.0 if variable.path.endswith("gamma") else 0.0, 0.2, variable.shape))
    return made


def inputs(made, token_ids, lengths) -> dict:
    """The backbone's inputs int32[B,S]; rows are real up to `lengths`."""
    token_ids = np.asarray(token_ids, np.int32)
    mask = (np.arange(token_ids.shape[1]) < np.asarray(lengths)[:, None]).astype(np.int32)
    values = {"token_ids": token_ids, "padding_mask": mask, "segment_ids": np.zeros_like(token_ids)}
    return {name: tf.constant(values[name]) for name in made.input}
