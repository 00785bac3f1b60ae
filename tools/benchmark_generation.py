"""Decoding of a language model, tfft beside transformers on PyTorch: the same weights in float32, prompts, lengths.

    python tools/benchmark_generation.py --batch=8 --rounds=2 --python=OTHER      OTHER has the extra "bench"

Prompts are random tokens, none ends early. Each system runs in a process of its own, with as many threads as it may use
processors (taskset decides, or --threads): tokens a second after the first, the prompt's own time subtracted, the better of two
runs. The processor's own time says more where other work runs on it as well.
"""

import argparse
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


def main() -> None:
    parser = flags(__doc__, ())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=32, help="tokens")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sampled", action="store_true", help="by chance, with top_p 0.9, instead of greedily")
    parser.add_argument("--tokens", type=int, default=64, help="new ones")
    parser.add_argument("--weights", default="", help="a folder in Hugging Face's layout; default: SmolLM2-135M")
    if not any(word.startswith("--weights") for word in sys.argv):
        code = "from tfft import assets, config; print(assets.resolve_backbone(config.SMOLLM2, assets.cache_folder()))"
        sys.argv.append("--weights=" + subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True,
                                                      stdout=subprocess.PIPE).stdout.split()[-1])
    take_turns(parser, __file__, {"tfft": own, "hf": baseline})


if __name__ == "__main__":
    main()
