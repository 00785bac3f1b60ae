"""What serving is compared with: one system in one process, which answers batches of texts and says how long each took.

    python tools/serving_baselines.py convert --workdir=FOLDER --folder=OUT        a run's weights as torch and as ONNX files
    python tools/serving_baselines.py onnx --folder=OUT                            reads requests from standard input
    python tools/serving_baselines.py torch --folder=OUT --port=8601               behind a minimal aiohttp server
    python tools/serving_baselines.py tfft --folder=OUT                            the newest SavedModel in OUT/saved_model

A request is a line {"texts": [[text, ...] of each batch]} or {"ids": [[[token id, ...] of each text] of each batch]}; the
answer is a line {"seconds": [of each batch], "scores": [of each text]}. A request by HTTP is {"texts": [text, ...]}, its answer
{"scores": [[...], ...]}. All systems have the same weights, wordpieces, and threads; each pads a batch to its longest text.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import sys
import time

import numpy as np

MAX_LENGTH = 256  # tokens
EPSILON = 1e-12  # of BERT's layer normalisations


def torch_model(folder: pathlib.Path, attention: str):
    """A transformers BertModel with mean pooling and a head: (input_ids, attention_mask) -> probabilities float32[B,L]."""
    import torch
    import transformers

    saved = torch.load(folder / "weights.pt", weights_only=True)
    config = transformers.BertConfig(**saved["config"], attn_implementation=attention)

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel(config, add_pooling_layer=False)
            self.head = torch.nn.Linear(config.hidden_size, saved["weights"]["head.weight"].shape[0])

        def forward(self, input_ids, attention_mask):
            sequence = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(sequence.dtype)
            return torch.softmax(self.head((sequence * mask).sum(1) / mask.sum(1)), -1)

    model = Classifier()
    missing, unknown = model.load_state_dict(saved["weights"], strict=False)
    assert not unknown and all("position_ids" in name or "token_type_ids" in name for name in missing), (missing, unknown)
    return model.eval()


def torch_weights(saved: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    """KerasHub's names and shapes of a BERT classifier -> those of `torch_model`."""
    def dense(name: str, to: str, inputs: int) -> dict:
        kernel = saved[f"{name}/kernel"].reshape(inputs, -1)
        return {f"{to}.weight": kernel.T.copy(), f"{to}.bias": saved[f"{name}/bias"].reshape(-1)}

    def norm(name: str, to: str) -> dict:
        return {f"{to}.weight": saved[f"{name}/gamma"], f"{to}.bias": saved[f"{name}/beta"]}

    width = saved["embeddings_layer_norm/gamma"].shape[0]
    made = {f"bert.embeddings.{to}.weight": saved[f"{name}/embeddings"] for name, to in (
        ("token_embedding", "word_embeddings"), ("position_embedding", "position_embeddings"),
        ("segment_embedding", "token_type_embeddings"))}
    made |= norm("embeddings_layer_norm", "bert.embeddings.LayerNorm") | dense("head", "head", width)
    for i in range(layers):
        here, there = f"transformer_layer_{i}", f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            made |= dense(f"{here}/self_attention_layer/{part}", f"{there}.attention.self.{part}", width)
        made |= dense(f"{here}/self_attention_layer/attention_output", f"{there}.attention.output.dense", width)
        made |= norm(f"{here}/self_attention_layer_norm", f"{there}.attention.output.LayerNorm")
        made |= dense(f"{here}/feedforward_intermediate_dense", f"{there}.intermediate.dense", width)
        inner = saved[f"{here}/feedforward_intermediate_dense/bias"].shape[0]
        made |= dense(f"{here}/feedforward_output_dense", f"{there}.output.dense", inner)
        made |= norm(f"{here}/feedforward_layer_norm", f"{there}.output.LayerNorm")
    return made


def convert(arguments: argparse.Namespace) -> None:
    """Writes weights.pt, vocab.txt, model.onnx and optimised.onnx."""
    import shutil

    import torch
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    from safetensors.numpy import load_file

    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    backbone = json.loads((arguments.workdir / "backbone.json").read_text())["config"]
    config = {"vocab_size": backbone["vocabulary_size"], "hidden_size": backbone["hidden_dim"],
              "num_hidden_layers": backbone["num_layers"], "num_attention_heads": backbone["num_heads"],
              "intermediate_size": backbone["intermediate_dim"], "max_position_embeddings": backbone["max_sequence_length"],
              "type_vocab_size": backbone["num_segments"], "layer_norm_eps": EPSILON, "hidden_act": "gelu_pytorch_tanh"}
    weights = torch_weights(load_file(arguments.workdir / "best" / "weights.safetensors"), backbone["num_layers"])
    torch.save({"config": config, "weights": {k: torch.from_numpy(v) for k, v in weights.items()}}, folder / "weights.pt")
    shutil.copy(arguments.workdir / "tokenizer" / "assets" / "vocabulary.txt", folder / "vocab.txt")
    ids = torch.randint(1000, 2000, (2, 8))
    torch.onnx.export(torch_model(folder, "eager"), (ids, torch.ones_like(ids)), str(folder / "model.onnx"), dynamo=False,
                      input_names=["input_ids", "attention_mask"], output_names=["scores"], opset_version=17,
                      dynamic_axes={name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")})
    made = optimizer.optimize_model(str(folder / "model.onnx"), "bert", num_heads=config["num_attention_heads"],
                                    hidden_size=config["hidden_size"], opt_level=0,
                                    optimization_options=FusionOptions("bert"))
    made.save_model_to_file(str(folder / "optimised.onnx"))
    print(json.dumps({"fused": made.get_fused_operator_statistics()}))


class TorchSystem:
    """transformers and PyTorch."""

    modes = ("texts", "ids")

    def __init__(self, folder: pathlib.Path, threads: int):
        import torch
        import transformers

        self.torch = torch
        torch.set_num_threads(threads)
        self.tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)
        self.model = torch_model(folder, "sdpa")

    def texts(self, texts: list[str]) -> np.ndarray:
        made = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return self._run(made["input_ids"], made["attention_mask"])

    def ids(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self._run(self.torch.from_numpy(ids), self.torch.from_numpy(mask))

    def _run(self, ids, mask) -> np.ndarray:
        with self.torch.inference_mode():
            return self.model(ids, mask).numpy()


class OnnxSystem:
    """tokenizers and ONNX Runtime, with attention, layer normalisation and GELU fused."""

    modes = ("texts", "ids")

    def __init__(self, folder: pathlib.Path, threads: int):
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(folder / "optimised.onnx"), options, ["CPUExecutionProvider"])
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True, strip_accents=True)
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.tokenizer.enable_padding()

    def texts(self, texts: list[str]) -> np.ndarray:
        made = self.tokenizer.encode_batch(texts)
        return self.ids(np.array([e.ids for e in made], np.int64), np.array([e.attention_mask for e in made], np.int64))

    def ids(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


class SavedModelSystem:
    """tfft's export in a TensorFlow session, as TF Serving runs it."""

    def __init__(self, folder: pathlib.Path, threads: int):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - registers the tokenizer's ops

        from tfft.serving.server.settings import versions

        settings = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        self.session = tf.compat.v1.Session(graph=tf.Graph(), config=settings)
        _, newest = max(versions(folder / "saved_model").items())
        made = tf.compat.v1.saved_model.load(self.session, ["serve"], str(newest))
        self.signatures = made.signature_def
        self.modes = ("texts", "ids") if "tokens" in self.signatures else ("texts",)
        self.calls = {name: self._call(name) for name in ("serving_default", "tokens") if name in self.signatures}

    def _call(self, name: str):
        inputs, outputs = (dict(sorted(part.items())) for part in (self.signatures[name].inputs, self.signatures[name].outputs))
        scores = outputs["scores" if "scores" in outputs else "probabilities"]
        call = self.session.make_callable(scores.name, [spec.name for spec in inputs.values()])
        return lambda **given: call(*(given[name] for name in inputs))

    def texts(self, texts: list[str]) -> np.ndarray:
        return self.calls["serving_default"](text=np.array([text.encode() for text in texts], object))

    def ids(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        ids, mask = ids.astype(np.int32), mask.astype(np.int32)
        return self.calls["tokens"](token_ids=ids, padding_mask=mask, segment_ids=np.zeros_like(ids))


SYSTEMS = {"tfft": SavedModelSystem, "torch": TorchSystem, "onnx": OnnxSystem}


def padded(batch: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """[[5, 6], [7]] -> ids [[5, 6], [7, 0]], mask [[1, 1], [1, 0]]."""
    ids, mask = (np.zeros((len(batch), max(map(len, batch))), np.int64) for _ in range(2))
    for row, values in enumerate(batch):
        ids[row, :len(values)], mask[row, :len(values)] = values, 1
    return ids, mask


def answer(system, request: dict) -> dict:
    """Runs the batches of a request one after another; input for `ids` is made ready before the clock starts."""
    call, given = ((system.texts, [(batch,) for batch in request["texts"]]) if "texts" in request else
                   (system.ids, [padded(batch) for batch in request["ids"]]))
    seconds, scores = [], []
    for batch in given:
        began = time.perf_counter()
        made = call(*batch)
        seconds.append(time.perf_counter() - began)
        scores += np.asarray(made).tolist()
    return {"seconds": seconds, "scores": scores}


def work(system) -> None:
    """Requests from standard input; {"modes": [...]} first, which says what is answered."""
    print(json.dumps({"modes": system.modes}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(system, json.loads(line))), flush=True)


def serve(system, port: int) -> None:
    """POST /predict: the least that a server around a model does. One request is computed at a time, with all threads."""
    import asyncio

    from aiohttp import web

    worker = concurrent.futures.ThreadPoolExecutor(1)

    async def predict(request: web.Request) -> web.Response:
        texts = (await request.json())["texts"]
        scores = await asyncio.get_running_loop().run_in_executor(worker, system.texts, texts)
        return web.json_response({"scores": scores.tolist()})

    application = web.Application(client_max_size=2**26)
    application.router.add_post("/predict", predict)
    web.run_app(application, host="127.0.0.1", port=port, print=None, access_log=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=["convert", *SYSTEMS])
    parser.add_argument("--workdir", type=pathlib.Path, help="convert: a run with a BERT backbone and mean pooling")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--port", type=int, help="serve by HTTP instead")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    if arguments.system == "convert":
        convert(arguments)
        return
    system = SYSTEMS[arguments.system](arguments.folder, arguments.threads)
    if arguments.port:
        serve(system, arguments.port)
    else:
        work(system)


if __name__ == "__main__":
    main()
