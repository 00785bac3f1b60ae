"""What of a model is trained, and how fast: freezing, parameter-efficient methods and layer-wise learning rates."""

import math
import re

import keras

from tfft.config import Adaptation, Model
from tfft.errors import UserError
from tfft.models import adapters, prefixes, prompts

ENCODER_LAYER = re.compile(r"_(layer|block)_\d+$")  # Gemma's are decoder_block_0 and so on


def sections(backbone) -> tuple[list, list, list]:
    """(embedding layers, encoder layers from lowest to highest, layers above) of any KerasHub encoder."""
    embeddings, encoder, above = [], [], []
    for layer in backbone.layers:
        if ENCODER_LAYER.search(layer.name):
            encoder.append(layer)
        elif "embedding" in layer.name or not encoder:
            embeddings.append(layer)
        else:
            above.append(layer)
    return embeddings, encoder, above


def freeze(backbone, config: Model) -> None:
    """Marks the embeddings and the lowest layers as not trainable; they also stop dropping out.

    Raises: UserError where there are fewer layers than should be frozen.
    """
    embeddings, encoder, above = sections(backbone)
    if config.frozen_layers > len(encoder):
        raise UserError(f"config.model.frozen_layers={config.frozen_layers}, but {type(backbone).__name__} has "
                        f"{len(encoder)} layers of its own weights (-1 trains the head alone).")
    frozen = []
    if config.freeze_embeddings or config.frozen_layers:
        frozen += embeddings
    if config.frozen_layers == -1:
        frozen += encoder + above
    else:
        frozen += encoder[:config.frozen_layers]
    for layer in frozen:
        layer.trainable = False
        for inner in layer._flatten_layers():
            if isinstance(inner, keras.layers.Dropout):
                inner.rate = 0.0


def choose_trained(backbone, config: Model, method: Adaptation, seed: int, tokenizer=None):
    """Freezes what the two say, and puts what the method learns into the layers that are left, or before them. Returns the
    backbone to build a model on. tokenizer: of what a prompt begins as; it begins as 0 without.

    Raises: UserError where there are fewer layers than should be frozen, or nothing of the name that the method should act on.
    """
    freeze(backbone, config)
    if method.method == "none":
        return backbone
    if method.method == "prompt":
        layers = sections(backbone)[1]
        backbone = (prompts.PromptedSource(backbone, layers[0], method.prefix) if "decoder_token_ids" in backbone.input
                    else prompts.Prompted(backbone, layers, method.prefix))
        if tokenizer is not None:
            backbone.begin_as(prompts.first_tokens(tokenizer, method.prompt_text, method.prefix, seed))
        trained = backbone.prompt.trainable_variables
    else:
        put = prefixes.put_prefix if method.method == "prefix" else adapters.adapt
        trained = put([layer for layer in sections(backbone)[1] if layer.trainable], method, seed)
    kept = {id(variable) for variable in trained}
    for variable in backbone.trainable_variables:
        variable.trainable = id(variable) in kept
    return backbone


def frozen_weights(backbone, model) -> list:
    """The backbone's weights that the model uses and does not train, without the states of random numbers."""
    used = {id(v) for v in model.variables}
    return [v for v in backbone.variables if id(v) in used and not v.trainable and "seed_generator" not in v.path]


def trained_weights(model) -> int:
    """How many numbers are trained."""
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def learning_rate_multipliers(backbone, variables: list, layer_decay: float, head_rate: float = 1.0) -> list[float]:
    """Each variable's factor on the learning rate: head_rate above the backbone, 1 above its encoder, layer_decay for the
    encoder's top layer, and so on down; embeddings lowest (as in ELECTRA, Clark et al. 2020, section 3.1, and BEiT).

    layer_decay 0.5, two layers -> head 1, layer 1 0.5, layer 0 0.25, embeddings 0.125
    """
    embeddings, encoder, _ = sections(backbone)
    factor = {}
    for depth, layers in enumerate([embeddings, *([layer] for layer in encoder)]):
        for layer in layers:
            for variable in layer.variables:
                factor[variable.path] = layer_decay ** (len(encoder) + 1 - depth)
    pretrained = {variable.path for variable in backbone.variables}
    return [factor.get(v.path, 1.0 if v.path in pretrained else head_rate) for v in variables]


def decays(variable) -> bool:
    """Whether weight decay applies: to matrices, not to biases and norms."""
    name = variable.path.lower()
    return len(variable.shape) > 1 and not name.endswith("bias") and "layer_norm" not in name
