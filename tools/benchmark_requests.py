"""Requests to a served language model, one after the other and all at once: POST /v1/completions of a running `tfft serve`.

    tfft serve --model=models/code --rest_port=8501 &
    python tools/benchmark_requests.py --model=code --prompts=prompts.txt --requests=8 --tokens=32

prompts.txt has a prompt a line. Seconds until all are answered, tokens a second, the seconds of the longest request; an answer
must be the same both ways.
"""

import argparse
import json
import time
import urllib.request
from concurrent import futures
from pathlib import Path


def ask(arguments: argparse.Namespace, prompt: str) -> tuple[str, int, float]:
    """(text, tokens, seconds)"""
    began = time.perf_counter()
    body = {"model": arguments.model, "prompt": prompt, "max_tokens": arguments.tokens, "temperature": arguments.temperature,
            "seed": 1, "stream": arguments.stream, "stream_options": {"include_usage": True}}
    with urllib.request.urlopen(f"{arguments.url}/v1/completions", json.dumps(body).encode(), 600) as response:
        made = response.read().decode()
    if arguments.stream:
        events = [json.loads(line[6:]) for line in made.splitlines() if line.startswith("data: {")]
        text = "".join(event["choices"][0]["text"] for event in events if event["choices"])
        return text, events[-1]["usage"]["completion_tokens"], time.perf_counter() - began
    made = json.loads(made)
    return made["choices"][0]["text"], made["usage"]["completion_tokens"], time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--stream", action="store_true")
    arguments = parser.parse_args()
    prompts = arguments.prompts.read_text("utf-8").splitlines()[:arguments.requests]
    ask(arguments, prompts[0])
    answers = []
    for at_once in (1, len(prompts)):
        began = time.perf_counter()
        with futures.ThreadPoolExecutor(at_once) as pool:
            made = [*pool.map(lambda prompt: ask(arguments, prompt), prompts)]
        seconds, tokens = time.perf_counter() - began, sum(one[1] for one in made)
        answers.append([one[0] for one in made])
        print(f"{at_once} at once: {seconds:.2f} s, {tokens} tokens, {tokens / seconds:.1f} tokens/s, longest "
              f"{max(one[2] for one in made):.2f} s", flush=True)
    print("same answers" if answers[0] == answers[1] else f"answers differ: {answers}")


if __name__ == "__main__":
    main()
