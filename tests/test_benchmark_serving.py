"""tools/benchmark_serving.py: what its tables say of what was measured. What it measures needs PyTorch and ONNX Runtime."""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tools"))

import benchmark_serving  # noqa: E402
import serving_baselines  # noqa: E402


def round_of(*seconds: float, wall: float = 0.0) -> dict:
    return {"seconds": list(seconds), "wall": wall or sum(seconds)}


def test_a_table_by_hand():
    """Ratios are of the same round: a slow spell of the machine that hits both systems is none."""
    found = {
        "direct/short/1/tfft": [round_of(0.010, 0.010), round_of(0.030, 0.030)],
        "direct/short/1/onnx": [round_of(0.020, 0.020), round_of(0.060, 0.060)],
        "direct/short/32/tfft": [round_of(2.0), round_of(4.0), round_of(4.0)],
        "direct/short/32/onnx": [round_of(1.0), round_of(2.0), round_of(4.0)],
        "server/short/32/tfft": [round_of(2.5), round_of(5.0), round_of(4.0)],
        "clients/short/1/tfft": [round_of(0.5, 0.5, 0.5, wall=0.6)]}
    lines = benchmark_serving.table(found, ["tfft", "onnx"]).splitlines()
    assert lines[2:] == ["| direct | short | 1 | 20.0 / 30.0 ms | 40.0 / 60.0 ms | 200% |  |",
                         "| direct | short | 32 | 8.0 texts/s | 16.0 texts/s | 50% |  |",
                         "| server | short | 32 | 8.0 texts/s |  |  | 80% |",
                         "| clients | short | 16 | 5.0 texts/s |  |  |  |"]


def test_batches_go_round():
    assert benchmark_serving.batches_of([1, 2, 3], 2, 1, 3) == [[2, 3], [1, 2], [3, 1]]


def test_padding_and_weights():
    ids, mask = serving_baselines.padded([[5, 6], [7]])
    assert ids.tolist() == [[5, 6], [7, 0]] and mask.tolist() == [[1, 1], [1, 0]]
    draw = np.random.default_rng(0)
    shapes = {"token_embedding/embeddings": (9, 4), "position_embedding/embeddings": (8, 4),
              "segment_embedding/embeddings": (2, 4), "embeddings_layer_norm/gamma": (4,),
              "embeddings_layer_norm/beta": (4,), "head/kernel": (4, 3), "head/bias": (3,)}
    layer, heads = "transformer_layer_0", "transformer_layer_0/self_attention_layer"
    for part in ("query", "key", "value"):
        shapes |= {f"{heads}/{part}/kernel": (4, 2, 2), f"{heads}/{part}/bias": (2, 2)}
    shapes |= {f"{heads}/attention_output/kernel": (2, 2, 4), f"{heads}/attention_output/bias": (4,),
               f"{layer}/feedforward_intermediate_dense/kernel": (4, 6), f"{layer}/feedforward_intermediate_dense/bias": (6,),
               f"{layer}/feedforward_output_dense/kernel": (6, 4), f"{layer}/feedforward_output_dense/bias": (4,)}
    shapes |= {f"{layer}/{norm}_layer_norm/{part}": (4,)
               for norm in ("self_attention", "feedforward") for part in ("gamma", "beta")}
    saved = {name: draw.normal(size=shape) for name, shape in shapes.items()}
    made = serving_baselines.torch_weights(saved, 1)
    assert len(made) == len(saved)
    x, y = draw.normal(size=(5, 4)), draw.normal(size=(5, 2, 2))
    query = np.einsum("bd,dnh->bnh", x, saved[f"{heads}/query/kernel"])
    np.testing.assert_allclose(x @ made["bert.encoder.layer.0.attention.self.query.weight"].T, query.reshape(5, 4))
    output = np.einsum("bnh,nhd->bd", y, saved[f"{heads}/attention_output/kernel"])
    np.testing.assert_allclose(y.reshape(5, 4) @ made["bert.encoder.layer.0.attention.output.dense.weight"].T, output)
