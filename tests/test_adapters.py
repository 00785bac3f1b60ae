"""What is learnt beside frozen matrices: where it is put, what it computes, that it merges and is trained alone."""

import dataclasses
import json
import types

import families
import keras
import numpy as np
import pytest
import steps
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tfft.config import Adaptation, Model
from tfft.errors import UserError
from tfft.models.adaptation import choose_trained, sections
from tfft.models.adapters import Beside, adapt, merge
from tfft.models.backbone import sequence_output
from tfft.models.heads import pooled_classifier
from tfft.models.peft import CONFIG, TENSORS, read_peft, write_peft
from tfft.models.places import matrices, places
from tfft.models.prompts import first_tokens

FAMILIES = list(families.FAMILIES)
METHODS = {"lora": {}, "stabilised": {"method": "lora", "rank_stabilised": True, "targets": ("query", "value")}, "adalora": {},
           "dora": {}, "ia3": {}, "adapters": {}, "prefix": {"prefix": 3}, "prompt": {"prefix": 3}, "bitfit": {}}
MERGED = [name for name in METHODS if name not in ("adapters", "prefix", "prompt", "bitfit")]


def adaptation(name: str, **more) -> Adaptation:
    return Adaptation(**{"method": name, "rank": 2, "bottleneck": 3, **METHODS[name], **more})


def adapted(family: str, method: Adaptation, model: Model | None = None, **settings):
    """(backbone, classifier on it), adapted."""
    backbone = families.backbone(family, 0.0, **settings)
    backbone = choose_trained(backbone, model or Model(), method, seed=5)
    return backbone, pooled_classifier(backbone, Model(head_dropout=0.0), 2, seed=0)


def plain(family: str):
    return pooled_classifier(families.backbone(family, 0.0), Model(head_dropout=0.0), 2, seed=0)


def inputs(model) -> dict:
    return families.inputs(model, np.random.default_rng(0).integers(5, 14, (3, 7)), [7, 4, 1])


def disturb(model) -> None:
    """Gives what is trained other values, as training would."""
    draw = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + draw.normal(0, 0.1, variable.shape))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("prefix", "prompt")])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_begins_as_the_pretrained_one(family, name):
    model = adapted(family, adaptation(name))[1]
    np.testing.assert_allclose(model(inputs(model)), plain(family)(inputs(model)), atol=2e-6)


@pytest.mark.parametrize("family, name", [(family, name) for family in FAMILIES for name in METHODS
                                          if (family, name) != ("deberta_v3", "prefix")])
def test_only_what_is_learnt_and_the_head_is_trained(family, name):
    backbone, model = adapted(family, adaptation(name))
    trained = [v.path for v in model.trainable_variables]
    assert len(trained) == len(set(trained)) and len({v.path for v in model.variables}) == len(model.variables)
    own = [path for path in trained if not path.startswith("head/")]
    layers = {"prompt"} if name == "prompt" else {layer.name for layer in sections(backbone)[1]}
    assert {path.split("/")[0] for path in own} == layers
    ends = {"lora": "/a /b", "stabilised": "/a /b", "adalora": "/a /values /b", "dora": "/a /b /magnitude", "ia3": "/factors",
            "adapters": "/down /down_bias /up /up_bias", "prefix": "/tokens /down /down_bias /up /up_bias",
            "prompt": "/vectors", "bitfit": "bias beta"}[name].split()
    assert all(path.endswith(tuple(ends)) for path in own)
    before = {v.path: v.numpy() for v in plain(family).variables if not v.path.startswith("head")}
    disturb(model)
    after = {v.path: v.numpy() for v in backbone.variables}
    changed = [path for path, value in before.items() if not np.array_equal(after[path], value)]
    assert changed == [] if name != "bitfit" else all(path.endswith(("bias", "beta")) for path in changed)


@pytest.mark.parametrize("name", MERGED)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_is_the_unmerged_one(family, name):
    backbone, model = adapted(family, adaptation(name))
    disturb(model)
    expected = model(inputs(model)).numpy()
    assert np.abs(expected - plain(family)(inputs(model)).numpy()).max() > 1e-3
    merge(sections(backbone)[1])
    assert not any(isinstance(place.layer, Beside) for layer in sections(backbone)[1] for place in places(layer))
    assert [v.path for v in model.variables] == [v.path for v in plain(family).variables]
    np.testing.assert_allclose(model(inputs(model)), expected, atol=1e-5)


def test_a_prefix_is_seen_whatever_the_mask_says():
    """Attention over P more keys and values, written out; padding stays unseen."""
    backbone, model = adapted("bert", adaptation("prefix"))
    layer = sections(backbone)[1][0]
    inner = layer._self_attention_layer.attention
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.int32)
    made = layer._self_attention_layer(x, x, attention_mask=mask[:, None, :]).numpy()
    key, value = (part(x).numpy() for part in (inner._key_dense, inner._value_dense))
    assert key.shape == value.shape == (2, 8, 2, 4)
    scores = np.einsum("bqnh,bknh->bnqk", inner._query_dense(x).numpy(), key) / 2
    scores += np.where(np.concatenate([np.ones((2, 3)), mask], 1), 0, -1e9)[:, None, None, :]
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    expected = inner._output_dense(np.einsum("bnqk,bknh->bqnh", shares, value).astype(np.float32)).numpy()
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert (shares[1, :, :, :3] > 0).all() and np.ptp(key[0, :3], axis=0).max() > 0.01
    padded = inputs(model)
    other = {**padded, "token_ids": tf.where(padded["padding_mask"] == 1, padded["token_ids"], 9)}
    np.testing.assert_allclose(model(other), model(padded), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_as_tokens_before_the_others(family):
    """Where positions count for nothing: those of the prompt are not the tokens'."""
    backbone, model = adapted(family, adaptation("prompt"))
    tokens = np.random.default_rng(0).integers(5, 14, (3, 7))
    other = families.backbone(family, 0.0)
    for encoder in (backbone, other):
        for variable in encoder.variables:
            if "position_embedding" in variable.path:
                variable.assign(np.zeros(variable.shape))
    backbone.begin_as(np.array([5, 6, 7]))
    made, expected = (keras.Model(one.input, sequence_output(one)) for one in (backbone, other))
    short = made(families.inputs(made, tokens, [7, 4, 1]))
    long = expected(families.inputs(expected, np.concatenate([[[5, 6, 7]] * 3, tokens], 1), [10, 7, 4]))
    assert short.shape == (3, 7, 8)
    for row, length in enumerate((7, 4, 1)):
        np.testing.assert_allclose(short[row, :length], long[row, 3:3 + length], atol=1e-5)


def test_common_words_are_ids_whatever_the_order_of_the_vocabulary():
    class Tokenizer:
        vocabulary = {"good": 7, "##s": 1, "film": 2, "7": 0}
        get_vocabulary = vocabulary.keys
        token_to_id = vocabulary.get

    assert set(first_tokens(Tokenizer(), "", 2, seed=0)) == {2, 7}


def test_a_prompt_begins_as_words(tiny_preset):
    from tfft.models.backbone import load_tokenizer

    tokenizer = load_tokenizer(tiny_preset)
    vocabulary = tokenizer.get_vocabulary()
    told = first_tokens(tokenizer, "good film", 5, seed=0)
    assert [vocabulary[i] for i in told] == ["good", "film", "good", "film", "good"]
    drawn = first_tokens(tokenizer, "", 4, seed=0)
    assert len(set(drawn)) == 4 and all(vocabulary[i].isalpha() for i in drawn)
    np.testing.assert_array_equal(first_tokens(tokenizer, "", 4, seed=0), drawn)
    with pytest.raises(UserError, match="has no token"):
        first_tokens(tokenizer, " ", 4, seed=0)
    backbone = families.backbone("bert", 0.0)
    prompted = choose_trained(backbone, Model(), adaptation("prompt", prompt_text="good film"), 0, tokenizer)
    begin = keras.Model(backbone.input, backbone.get_layer("embeddings_dropout").output)
    given = first_tokens(tokenizer, "good film", 3, seed=0)[None]
    np.testing.assert_allclose(prompted.prompt.vectors, begin(families.inputs(begin, given, [3]))[0], atol=1e-6)


def test_a_prefix_needs_kerass_attention():
    with pytest.raises(UserError, match="this backbone has another"):
        adapted("deberta_v3", adaptation("prefix"))


def test_lora_adds_its_product():
    backbone, _ = adapted("bert", adaptation("lora", alpha=6.0))
    place = next(place for place in matrices(sections(families.backbone("bert", 0.0))[1]) if place.layer.name == "value")
    beside = next(p.layer for layer in sections(backbone)[1] for p in places(layer) if p.layer.name == "value_adapted")
    beside.b.assign(np.random.default_rng(2).normal(size=beside.b.shape))
    x = np.random.default_rng(3).normal(size=(2, 3, 8)).astype(np.float32)
    kernel, bias = place.layer.kernel.numpy().reshape(8, 8), place.layer.bias.numpy().reshape(8)
    expected = x @ (kernel + 6 / 2 * beside.a.numpy() @ beside.b.numpy()) + bias
    np.testing.assert_allclose(np.reshape(beside(x), (2, 3, 8)), expected, atol=1e-5)


def test_dora_keeps_the_lengths_of_columns():
    """W' = m (W + s A B) / |W + s A B|: with other A and B the columns turn, and keep their lengths m."""
    backbone, _ = adapted("bert", adaptation("dora"))
    beside = next(p.layer for layer in sections(backbone)[1] for p in places(layer) if p.layer.name == "query_adapted")
    beside.b.assign(np.random.default_rng(2).normal(size=beside.b.shape))
    kernel, _ = beside.merged()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), np.linalg.norm(beside.matrix(), axis=0), rtol=1e-5)
    assert np.abs(kernel - beside.matrix()).max() > 0.1


def test_a_dora_of_pefts_is_read(tmp_path):
    """Whose lengths are `lora_magnitude_vector` there, without `.weight`. What is another kind of adapter is told."""
    method = adaptation("dora")
    backbone, _ = adapted("bert", method)
    first = backbone.trainable_variables[0].numpy()
    write_peft(backbone, types.SimpleNamespace(adaptation=method, model=Model()), tmp_path)
    tensors = {name.replace("vector.weight", "vector"): value + 1 for name, value in load_file(tmp_path / TENSORS).items()}
    save_file(tensors, tmp_path / TENSORS)
    assert read_peft(backbone, method, tmp_path) == 0
    np.testing.assert_array_equal(backbone.trainable_variables[0].numpy(), first + 1)
    stated = json.loads((tmp_path / CONFIG).read_text())
    for changed, match in (({**stated, "peft_type": "LOHA"}, "its peft_type is LOHA; IA3 and LORA can be read"),
                           ({**stated, "init_lora_weights": "pissa_niter_4"}, "pissa_niter_4 has changed the model"),
                           ({**stated, "lora_alpha": None}, "adaptation.alpha=None"), ([stated], "no adapter of PEFT")):
        (tmp_path / CONFIG).write_text(json.dumps(changed))
        with pytest.raises(UserError, match=match):
            read_peft(backbone, method, tmp_path)


@pytest.mark.parametrize("pattern, count", [
    ("query", 2), ("*", 12), ("feedforward*", 4), ("transformer_layer_1/*", 6), ("self_attention_layer", 8),
    ("self_attention_layer/value", 2), ("transformer_layer_0/*/key", 1)])
def test_patterns(pattern, count):
    backbone, _ = adapted("bert", adaptation("lora", targets=(pattern,)))
    assert sum(isinstance(p.layer, Beside) for layer in sections(backbone)[1] for p in places(layer)) == count


def test_a_pattern_that_matches_nothing_says_what_there_is():
    with pytest.raises(UserError, match=r"(?s)no matrix of the backbone matches 'q_proj'.*self_attention_layer/query"):
        adapted("bert", adaptation("lora", targets=("query", "q_proj")))


def test_a_backbone_without_biases_is_told():
    layer = keras.layers.Dense(2, use_bias=False)
    layer.build((1, 3))
    with pytest.raises(UserError, match="bitfit trains biases, and this backbone has none"):
        adapt([layer], Adaptation(method="bitfit"), 0)


def test_frozen_layers_are_left_alone():
    backbone, model = adapted("bert", adaptation("lora"), Model(frozen_layers=1))
    first, second = sections(backbone)[1]
    assert not any(isinstance(place.layer, Beside) for place in places(first))
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {second.name, "head"}


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_make_the_same_weights(name):
    """That replicas do is shown in tests/test_replicas.py."""
    whole, parts = (steps.Rig(steps.batches(), method=adaptation(name), accumulation=count) for count in (1, 2))
    for rig in (whole, parts):
        rig.train(3)
    for path, value in whole.weights().items():
        np.testing.assert_allclose(parts.weights()[path], value, atol=2e-6, err_msg=path)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_xla_compiles_the_step(name, precision):
    losses = {xla: steps.Rig(steps.batches(), method=adaptation(name), precision=precision, xla=xla).losses(3)
              for xla in (False, True)}
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-4 if precision == "float32" else 3e-2)
    assert losses[False][-1] != losses[False][0]


@pytest.mark.parametrize("name", METHODS)
def test_float16_trains_as_float32_does(name):
    one, half = (steps.Rig(steps.batches(), method=adaptation(name), precision=precision)
                 for precision in ("float32", "mixed_float16"))
    start = one.weights()
    for _ in range(3):
        assert half.train(1)["loss"] == pytest.approx(one.train(1)["loss"], rel=5e-3)
    moved = {path: np.linalg.norm(value - start[path]) for path, value in one.weights().items()}
    apart = {path: np.linalg.norm(value - half.weights()[path]) for path, value in one.weights().items()}
    assert 0 < sum(apart.values()) < 0.1 * sum(moved.values())


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("stabilised", "adalora")])
def test_a_run_that_is_resumed_has_the_same_bits(name, tmp_path):
    """With dropout; of adalora see tests/test_ranks.py."""
    from tfft.training.checkpoints import Checkpoints

    method = adaptation(name, **({"dropout": 0.2} if name in ("lora", "dora") else {}))
    whole, again = (steps.Rig(steps.batches().repeat(), method=method, dropout=0.1) for _ in range(2))
    whole.train(3)
    Checkpoints(tmp_path, whole.model, whole.optimizer, whole.step, 1).save({})
    whole.train(3)
    assert Checkpoints(tmp_path, again.model, again.optimizer, again.step, 1).restore(print) == {}
    again.trainer.train_dataset = steps.batches().repeat().skip(3)
    again.train(3)
    for path, value in whole.weights().items():
        np.testing.assert_array_equal(again.weights()[path], value, err_msg=path)


def test_dropout_is_on_the_update_alone():
    backbone, model = adapted("bert", adaptation("lora", dropout=0.5))
    assert np.array_equal(model(inputs(model), training=True), model(inputs(model), training=False))  # B is 0 still
    disturb(model)
    assert not np.array_equal(model(inputs(model), training=True), model(inputs(model), training=True))
    assert np.array_equal(model(inputs(model), training=False), model(inputs(model), training=False))


def test_settings_without_a_method_are_told():
    from tfft.config import default_config, resolve

    config = default_config()
    config.data.train = "csv:a.csv"
    config.adaptation.rank = 4
    with pytest.raises(UserError, match="adaptation.rank does nothing without a method"):
        resolve(config)
    config.adaptation.method = "lora"
    assert resolve(config).adaptation == dataclasses.replace(Adaptation(), method="lora", rank=4)
    config.model.frozen_layers = -1
    with pytest.raises(UserError, match="frozen_layers=-1"):
        resolve(config)


def test_runs_of_before_are_read():
    """Their config.json has every setting of a method, as it is by default, without one."""
    from tfft.config import default_config, resolve

    config = default_config()
    config.data.train = "csv:a.csv"
    for name, value in {"rank": 8, "alpha": 16.0, "bottleneck": 64, "prefix": 16, "rate": 10.0}.items():
        config.adaptation[name] = value
    assert resolve(config).adaptation == Adaptation()
    assert (Adaptation(method="lora").rate_used, Adaptation(method="adalora", rate=2.0).rate_used) == (10.0, 10.0)
