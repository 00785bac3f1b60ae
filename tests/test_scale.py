"""Many hosts read an epoch's examples once each: tools/simulate_scale.py, small."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfft.data.pipeline import Epochs, Reader, dataset
from tfft.data.store import TokenStore

TOOL = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "simulate_scale.py"))
EXAMPLES = 20_003


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    TOOL["write_store"](folder, EXAMPLES)
    return TokenStore(folder)


@pytest.mark.parametrize("hosts, replicas", [(1, 1), (3, 1), (64, 1), (1024, 1), (7, 3)])
@pytest.mark.parametrize("tokens", [0, 2048])
def test_each_example_is_read_once_and_hosts_are_balanced(store, hosts, replicas, tokens):
    made = TOOL["read_all"](store.lengths, TOOL["settings_of"](hosts * replicas, 4, tokens), hosts, replicas)
    assert made["once"] and made["batches"] > 1
    assert made["most"] - made["fewest"] <= 4 * replicas or tokens


def test_what_is_not_read_once_is_seen(store, monkeypatch):
    """Every host but the last gets the first one's share."""
    read_all = TOOL["read_all"]
    share = TOOL["share"]
    monkeypatch.setitem(read_all.__globals__, "share", lambda rows, part, parts: share(rows, part if part == 3 else 0, parts))
    assert not read_all(store.lengths, TOOL["settings_of"](4, 4, 0), 4, 1)["once"]


def test_datasets_of_many_hosts_read_what_the_simulation_says(store):
    """The datasets that training reads, of 64 hosts with 2 replicas each."""
    settings = TOOL["settings_of"](128, 4, 0)
    rows = np.arange(len(store))
    epochs = Epochs(lambda epoch: (store, rows, rows), settings)
    steps = epochs.num_batches(0)
    reader = Reader(("token_ids", "padding_mask"), 0,
                    lambda rows, length: (np.zeros(len(rows), np.float32), np.ones(len(rows), np.float32)),
                    tf.TensorSpec([None], tf.float32))
    times, read = np.zeros(EXAMPLES, int), []
    for host in range(64):
        batches = dataset(epochs, reader, start=0, stop=steps, replicas=128, host=host, hosts=64)
        indices = np.concatenate([indices for *_, indices in batches.as_numpy_iterator()])
        np.add.at(times, indices[indices >= 0], 1)
        read.append((indices >= 0).sum())
    made = TOOL["read_all"](store.lengths, settings, 64, 2)
    assert (times == 1).all() and made["once"]
    assert (made["fewest"], made["most"]) == (min(read), max(read))


def test_a_host_starts(store):
    settings = TOOL["settings_of"](64, 4, 0)
    made = TOOL["start_host"](store.folder, settings, 63, 64, 1)
    assert made["plan_seconds"] > 0 and made["batch_ms"] > 0 and made["peak_mb"] >= made["imported_mb"] > 0
