"""Language models with a prefix, in packed rows, or a prompt are trained alike in parts, again, compiled, resumed, by replicas;
encoder-decoders too where they are compiled.

As a script it trains on logical CPUs and prints what came of it: python tests/test_causal_prefix_steps.py FOLDER - 4
"""

from pathlib import Path

import by_replicas
import numpy as np
import pytest

STEPS = 3
METHODS = ("prefix", "prompt")
OF_SEQ2SEQ = ("seq2seq_prefix", "seq2seq_prompt")
WAYS = {"in parts": {"accumulation": 2}, "again": {"remat": True}, "compiled": {"xla": True, "remat": True, "accumulation": 2}}


def task_of(method: str):
    from test_xla import LANGUAGE, TRANSLATION

    from tfft.config import CausalLM, Seq2Seq
    from tfft.tasks.causal_lm.task import CausalLMTask
    from tfft.tasks.seq2seq.task import Seq2SeqTask

    if method in OF_SEQ2SEQ:
        return Seq2SeqTask(Seq2Seq(max_new_tokens=8), TRANSLATION)
    return CausalLMTask(CausalLM(pack=method == "prefix"), LANGUAGE)


def batches(model):
    """Of 4 rows of 8 tokens, the last one padding: two texts in each, or one."""
    import tensorflow as tf

    draw = np.random.default_rng(5)
    document = np.array([1, 1, 1, 2, 2, 2, 2, 0], np.int32) if "document" in model.input else np.array([1] * 7 + [0], np.int32)
    ids = draw.integers(1, 15, (STEPS * 2, 4, 8)).astype(np.int32) * (document > 0)
    values = {"token_ids": ids, "padding_mask": np.broadcast_to((document > 0).astype(np.int32), ids.shape),
              "document": np.broadcast_to(document, ids.shape)}
    wanted = np.where((document > 0) & (np.roll(document, -1) == document), np.roll(ids, -1, axis=2), -1).astype(np.int32)
    values["decoder_token_ids"] = np.abs(wanted)  # of an encoder-decoder, whose targets are as long as its sources
    return tf.data.Dataset.from_tensor_slices((
        {name: values[name] for name in model.input}, {"ids": wanted}, np.full((STEPS * 2, 4), 0.25, np.float32),
        np.tile(np.arange(4), (STEPS * 2, 1)))).repeat()


def rig_of(method: str, strategy=None, **settings):
    import tensorflow as tf
    from steps import Rig

    strategy, task = strategy or tf.distribute.get_strategy(), task_of(method)
    with strategy.scope():
        own = backbone_of(method)
        model = task.build_model(own, None, 0)
        model = task.for_packed(model, own) if task.packed else model
    rows = batches(model)
    if strategy.num_replicas_in_sync > 1:
        rows = strategy.experimental_distribute_dataset(rows)
    return Rig(rows, strategy, model=model, loss=task.loss, clip_norm=0.0, **settings)


def backbone_of(method: str):
    """Far from what it began as."""
    import families
    from test_causal_prefix import adapted

    from tfft.config import Adaptation, Model
    from tfft.models.adaptation import choose_trained
    from tfft.models.encoder_decoder import encoder_decoder

    if method not in OF_SEQ2SEQ:
        return adapted("llama", method)[0]
    own = encoder_decoder(families.backbone("bert", 0.0, layers=1), 0, seed=0)
    own = choose_trained(own, Model(), Adaptation(method=method.removeprefix("seq2seq_"), prefix=3, bottleneck=5), seed=5)
    draw = np.random.default_rng(1)
    for variable in own.trainable_variables:
        variable.assign(draw.normal(0, 0.5, variable.shape))
    return own


@pytest.mark.parametrize("method", [*METHODS, *OF_SEQ2SEQ])
def test_a_step_is_the_same_in_any_way(method):
    whole = rig_of(method)
    losses, weights = whole.losses(STEPS), whole.weights()
    assert len(set(losses)) == STEPS
    for way, settings in WAYS.items() if method == "prefix" else [("compiled", WAYS["compiled"])]:
        rig = rig_of(method, **settings)
        assert rig.losses(STEPS) == pytest.approx(losses, rel=1e-5), way
        for path, value in rig.weights().items():
            np.testing.assert_allclose(value, weights[path], atol=2e-5, err_msg=f"{way} {path}")


def test_a_run_that_is_resumed_has_the_same_bits(tmp_path):
    from tfft.training.checkpoints import Checkpoints

    whole, again = (rig_of("prefix") for _ in range(2))
    whole.train(2)
    Checkpoints(tmp_path, whole.model, whole.optimizer, whole.step, 1).save({})
    whole.train(2)
    assert Checkpoints(tmp_path, again.model, again.optimizer, again.step, 1).restore(print) == {}
    again.trainer.train_dataset = again.trainer.train_dataset.skip(2)
    again.train(2)
    for path, value in whole.weights().items():
        np.testing.assert_array_equal(again.weights()[path], value, err_msg=path)


@pytest.mark.parametrize("method", [*METHODS, *OF_SEQ2SEQ])
def test_its_step_lowers_with_static_shapes(method):
    from test_xla import DYNAMIC

    from tfft.tpu import lower

    rig = rig_of(method, xla=True, remat=True)
    hlo = lower.training_step(rig.trainer, lower.batch_spec(rig.model, task_of(method), 4, 16))
    assert len(hlo) > 10_000 and not any(op in hlo for op in DYNAMIC)


@pytest.mark.slow
def test_replicas_train_like_one(tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, "-")
    for method, one in found["1"].items():
        assert len(set(one["losses"])) == STEPS
        for other in (found["2"][method], found["4"][method]):
            np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5)
            for path, value in one["weights"].items():
                np.testing.assert_allclose(other["weights"][path], value, atol=1e-5, err_msg=path)


def find(strategies: dict, folder: Path, preset: str) -> dict:
    made: dict = {}
    for count, strategy in strategies.items():
        for method in METHODS:
            rig = rig_of(method, strategy)
            losses = rig.losses(STEPS)
            made.setdefault(count, {})[method] = {
                "losses": losses, "weights": {path: value.tolist() for path, value in rig.weights().items()}}
    return made


if __name__ == "__main__":
    by_replicas.main(find)
