"""Decoding of a language model, tfft beside transformers on PyTorch and llama.cpp: the same weights, prompts, lengths.

    python tools/benchmark_generation.py --batch=8 --rounds=2 --python=OTHER      OTHER has the extra "bench"
    python tools/benchmark_generation.py ... --systems=tfft,llamacpp,llamacpp_float32 --gguf=FILE    and llama-cpp-python

All in float32, but for llamacpp, which computes with the file's own 4 bits (and 8 of what comes from the layers before).

Prompts are random tokens, none ends early. Each system runs in a process of its own, with as many threads as it may use
processors (taskset decides, or --threads): tokens a second after the first, the prompt's own time subtracted, the better of two
runs. The processor's own time says more where other work runs on it as well.
"""

import argparse
import ctypes
import functools
import os
import subprocess
import sys
import time

import numpy as np
from benchmark_entities import ROOT, flags, take_turns

FEW = 2


def prompts(arguments: argparse.Namespace) -> np.ndarray:
    return np.random.default_rng(arguments.seed).integers(300, 40_000, (arguments.batch, arguments.prompt)).astype(np.int32)


def timed(arguments: argparse.Namespace, run) -> dict:
    """run(how many tokens)"""
    def seconds(tokens: int) -> np.ndarray:
        began = time.perf_counter(), time.process_time()
        run(tokens)
        return np.array([time.perf_counter() - began[0], time.process_time() - began[1]])

    run(FEW)
    few, many = (np.minimum(*(seconds(tokens) for _ in range(2))) for tokens in (FEW, arguments.tokens))
    speed, of_processor = arguments.batch * (arguments.tokens - FEW) / (many - few)
    return {"tokens_per_second": speed, "tokens_per_processor_second": of_processor, "prompt_seconds": few[0],
            "prompt_processor_seconds": few[1]}


def own(arguments: argparse.Namespace) -> dict:
    import tensorflow as tf

    from tfft.models.backbone import load_backbone
    from tfft.models.causal_decoder import CausalDecoder
    from tfft.models.decoding import generate
    from tfft.models.sampling import Sampling

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    chosen = {"temperature": 1.0, "top_p": 0.9} if arguments.sampled else {}
    decoder = CausalDecoder(load_backbone(arguments.weights, precision="float32", dropout=-1))
    spec = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int32)]
    graph = tf.function(lambda ids, tokens: generate(decoder, ids, tf.ones_like(ids), Sampling(tokens, **chosen), (10**6,),
                                                     room=arguments.tokens), spec, autograph=False)
    ids = tf.constant(prompts(arguments))
    return timed(arguments, lambda tokens: graph(ids, tf.constant(tokens)).numpy())


def baseline(arguments: argparse.Namespace) -> dict:
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.weights, dtype=torch.float32).eval()
    ids = torch.tensor(prompts(arguments), dtype=torch.long)
    return timed(arguments, lambda tokens: model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0,
        **({"do_sample": True, "temperature": 1.0, "top_p": 0.9, "top_k": 0} if arguments.sampled else {"do_sample": False})))


def llamacpp(arguments: argparse.Namespace, float32: bool = False) -> dict:
    """Each prompt is a sequence of one context; a step decodes a token of each, the most probable one."""
    import llama_cpp as ll

    path = arguments.gguf
    if float32:
        path = os.path.join(arguments.folder, "float32.gguf")
        how = ll.llama_model_quantize_default_params()
        how.ftype, how.allow_requantize = ll.LLAMA_FTYPE_ALL_F32, True
        if ll.llama_model_quantize(arguments.gguf.encode(), path.encode(), ctypes.byref(how)):
            sys.exit(f"{arguments.gguf} could not be written in float32")
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    how = ll.llama_context_default_params()
    ids = prompts(arguments)
    rows, length = ids.shape
    how.n_ctx, how.n_batch, how.n_seq_max = rows * (length + arguments.tokens), rows * length, rows
    how.n_ubatch, how.n_threads, how.n_threads_batch = min(512, rows * length), arguments.threads, arguments.threads
    if float32:
        how.type_k = how.type_v = ll.GGML_TYPE_F32
    context = ll.llama_init_from_model(model, how)
    words = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    batch = ll.llama_batch_init(rows * length, 0, 1)

    def step(tokens: np.ndarray, first: int) -> np.ndarray:
        """tokens int32[b,n] from position first on -> int32[b,1]"""
        batch.n_tokens, ends = tokens.size, []
        for place, token in enumerate(tokens.ravel().tolist()):
            row, column = divmod(place, tokens.shape[1])
            batch.token[place], batch.pos[place] = token, first + column
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
            batch.logits[place] = column == tokens.shape[1] - 1
            ends += [place] * batch.logits[place]
        if ll.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        return np.array([[np.ctypeslib.as_array(ll.llama_get_logits_ith(context, place), (words,)).argmax()]
                         for place in ends], np.int32)

    def run(tokens: int) -> None:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        made = step(ids, 0)
        for position in range(length, length + tokens - 1):
            made = step(made, position)

    return timed(arguments, run)


def main() -> None:
    parser = flags(__doc__, ())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=32, help="tokens")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sampled", action="store_true", help="by chance, with top_p 0.9, instead of greedily")
    parser.add_argument("--tokens", type=int, default=64, help="new ones")
    parser.add_argument("--gguf", default="", help="the file that llama.cpp reads")
    parser.add_argument("--weights", default="", help="a folder in Hugging Face's layout; default: SmolLM2-135M")
    if not any(word.startswith("--weights") for word in sys.argv):
        code = "from tfft import assets, config; print(assets.resolve_backbone(config.SMOLLM2, assets.cache_folder()))"
        sys.argv.append("--weights=" + subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True,
                                                      stdout=subprocess.PIPE).stdout.split()[-1])
    take_turns(parser, __file__, {"tfft": own, "hf": baseline, "llamacpp": llamacpp,
                                  "llamacpp_float32": functools.partial(llamacpp, float32=True)}, usual=("tfft", "hf"))


if __name__ == "__main__":
    main()
