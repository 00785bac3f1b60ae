"""Architectures without weights: what is compiled of them, and the straight line from few layers to all."""

import collections
import contextlib
import json

import language
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2
from test_masked_lm_run import settings_of

from tfft.assets import resolve_backbone
from tfft.errors import UserError
from tfft.models import shapes
from tfft.models.backbone import load_backbone
from tfft.run.assembly import Unread, build_shape
from tfft.run.shape_check import Floor, few_layers
from tfft.run.tpu_check import Step
from tfft.tasks.table import TASKS
from tfft.tpu.chips import parse_tpu
from tfft.tpu.compiler import Compiled
from tfft.tpu.layers import Line

SHAPE = {"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 48, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "tie_word_embeddings": True, "rope_scaling": None}


def built(tmp_path, shape: dict, layers: int, **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(shape))
    experiment = settings_of("my_text:jsonl:x", f"shape:{path}", "", data__max_length=16, **changes)
    kind = TASKS["causal_lm"]
    unread = Unread(experiment, tf.distribute.get_strategy(), kind(experiment.task, kind.infer_nothing(experiment)))
    return unread, build_shape(unread, shapes.read_shape(experiment.model.backbone), layers)


def test_a_line_through_four_steps():
    line = Line({(layers, rows): 10 + 5 * layers + (3 + 2 * layers) * rows for layers in (2, 4) for rows in (8, 16)})
    assert line.bytes(30, 64) == 10 + 150 + 63 * 64
    assert line.rows(30, 160 + 63 * 40) == line.rows(30, 160 + 63 * 41 - 1) == 40 and line.rows(30, 100) == 0
    assert line.rows(30, 160 + 63 * 41, multiple=8) == 40
    assert few_layers((2, 4), 30) == (2, 4) and few_layers((0,), 30) == (15, 30) and few_layers((2, 4), 4) == (2, 4)
    floor = Floor(8 << 30, 1 << 30, clipped=True)
    assert floor.bytes == 44 << 30 and "44.00 GiB" in floor.text() and floor.text().endswith("v5p")
    with pytest.raises(UserError, match="two different numbers of layers, up to 30"):
        few_layers((3, 3, 3, 2, 1), 30)


class Asked:
    """In the place of the compiler: keeps what it is given."""

    def __init__(self):
        self.hlo = []

    def compile(self, hlo, chip):
        self.hlo.append(hlo)
        return Compiled(0.0, memory=dict.fromkeys(("argument", "output", "alias", "temp", "generated_code"), 0)), False


def operations(hlo: bytes) -> collections.Counter:
    """How often each operation is in it, with the shape of what it makes."""
    return collections.Counter((one.opcode, one.shape.element_type, tuple(one.shape.dimensions))
                               for part in hlo_pb2.HloModuleProto.FromString(hlo).computations for one in part.instructions)


@pytest.mark.parametrize("changes", [{}, {"train__remat": True, "adaptation__method": "lora", "train__accumulation": 2},
                                     {"adaptation__method": "prefix", "task__pack": True}])
def test_the_step_of_a_shape_is_that_of_the_model(tmp_path, changes, monkeypatch):
    """The same operations of the same shapes as that of the model with its weights."""
    preset, asked = language.write(tmp_path / "model"), Asked()
    shape = json.loads((preset / "config.json").read_text())
    for real in (False, True):
        if real:
            monkeypatch.setattr(shapes, "shape_backbone", lambda *_, **settings: load_backbone(str(preset), **settings))
            monkeypatch.setattr(shapes, "without_values", contextlib.nullcontext)
            monkeypatch.setattr(shapes, "empty", tf.zeros)
        unread, made = built(tmp_path, shape, language.LAYERS, **changes)
        Step(unread, made, asked, parse_tpu("v5e-8"), print).compile(4, 16)
    alone, whole = (operations(hlo) for hlo in asked.hlo)
    assert alone == whole and sum(alone.values()) > 200
    assert any(np.abs(v.numpy()).max() > 0.5 for v in made.model.variables)


def test_a_shape_of_billions_of_weights_takes_no_memory(tmp_path):
    before = psutil.Process().memory_info().rss
    shape = {**SHAPE, "vocab_size": 128_256, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
             "intermediate_size": 14_336}
    made = built(tmp_path, shape, 1)[1]
    assert made.model.count_params() > 740e6 and made.fixed_bytes > 11e9
    assert psutil.Process().memory_info().rss - before < 1e9


def test_what_is_no_shape_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "lama"}')
    with pytest.raises(UserError, match="Unknown model_type 'lama'. Did you mean 'llama'"):
        shapes.read_shape(f"shape:{tmp_path}")
    with pytest.raises(UserError, match="nowhere.json cannot be read as JSON"):
        shapes.read_shape(f"shape:{tmp_path}/nowhere.json")
    with pytest.raises(UserError, match="lacks 'vocab_size'"):
        shapes.shape_backbone({"model_type": "llama", "rope_theta": 1.0}, 2, precision="float32", dropout=-1)
    with pytest.raises(UserError, match="tfft preflight says whether it fits"):
        resolve_backbone("shape:config.json", tmp_path)
    words = settings_of("my_csv:x.csv", "shape:config.json", "")
    with pytest.raises(UserError, match="for language models .*not for text_classification"):
        TASKS["text_classification"].infer_nothing(words)
