"""Adapters of language models: in every family all matrices of attention and feed-forward are found, and merge."""

import numpy as np
import pytest
from test_causal_lm_loss import FAMILIES, backbone

from tfft.config import Adaptation, Model
from tfft.models.adaptation import choose_trained, sections
from tfft.models.adapters import Beside, merge
from tfft.models.places import places

ATTENTION = {"query", "key", "value", "attention_output"}
FOUND = {"lora": 7, "dora": 7, "adalora": 7, "ia3": 3, "adapters": 2}  # matrices of a layer; GPT-2 has no gate


def adapted(family: str, method: str):
    made = backbone(family)
    return choose_trained(made, Model(), Adaptation(method=method, rank=2, bottleneck=3), seed=5)


def beside(model) -> list[str]:
    return [place.layer.layer.name for layer in sections(model)[1] for place in places(layer)
            if isinstance(place.layer, Beside)]


def inputs() -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(1, 20, (3, 7)).astype(np.int32)
    return {"token_ids": ids, "padding_mask": (np.arange(7) < [[7], [4], [1]]).astype(np.int32)}


@pytest.mark.parametrize("method", FOUND)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_matrix_is_found_and_merges(family, method):
    model, given = adapted(family, method), inputs()
    names = beside(model)
    assert len(names) == 2 * (FOUND[method] - (family == "gpt2" and method in ("lora", "dora", "adalora")))
    assert ATTENTION & set(names) == {"ia3": {"key", "value"}, "adapters": {"attention_output"}}.get(method, ATTENTION)
    plain = np.asarray(backbone(family)(given))
    np.testing.assert_allclose(np.asarray(model(given)), plain, atol=1e-4)
    draw = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + draw.normal(0, 0.1, variable.shape))
    expected = np.asarray(model(given))
    assert np.abs(expected - plain).max() > 1e-2
    if method == "adapters":
        return  # stay beside
    merge(sections(model)[1])
    assert not beside(model)
    np.testing.assert_allclose(np.asarray(model(given)), expected, atol=1e-4)
