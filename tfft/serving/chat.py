"""A run's language model on the terminal: a conversation with it, and its answers to prompts as they are made."""

import json
import sys
from collections.abc import Iterator

import tensorflow as tf

from tfft.assets import cache_folder
from tfft.data.tokenize import features
from tfft.run.workdir import Run, asked_with, open_run
from tfft.tasks.texts.answering import BEFORE

STOPPED = 130  # the exit code of a command that ctrl-C ended
FIRST, NEXT = 2, 8  # tokens that are made before some are shown
HELP = "/new begins another conversation, /quit (or ctrl-D) ends; ctrl-C stops an answer"


class Talker:
    """A run's model, which answers bit by bit."""

    def __init__(self, run: Run):
        self._task, self._model = run.task, run.model
        self._encoder = run.reading(cache_folder(run.experiment.data.cache)).encoder
        self._more = tf.function(self._some, autograph=False, reduce_retracing=True, input_signature=[
            tf.TensorSpec([None, None], tf.int32), *[tf.TensorSpec([], tf.int32)] * 2])

    @property
    def continues(self) -> bool:
        """Whether the model continues texts, and knows no conversations."""
        return bool(self._encoder.rendering.data.text_column)

    def _some(self, token_ids: tf.Tensor, count: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        inputs = {"token_ids": token_ids, "padding_mask": tf.ones_like(token_ids)}
        return self._task.answer(self._model, inputs, self._task.extras({"max_new_tokens": count, BEFORE: before}))

    def __call__(self, prompt: str) -> Iterator[str]:
        """The answer to a prompt, or to messages as JSON, in parts that make it up together."""
        examples, _ = self._encoder.asked(**self._encoder.strings([{"prompt": prompt}]))
        asked, made, told, size = features(examples, 0, ())["token_ids"].numpy()[0].tolist(), [], "", FIRST
        settings, language = self._task.settings, self._task.learnt
        while len(made) < settings.max_new_tokens and not set(made[-1:]) & set(language.ends):
            count = min(size, settings.max_new_tokens - len(made))
            new = self._more(tf.constant([asked + made]), tf.constant(count), tf.constant(len(made)))
            made += [token for token in new.numpy()[0].tolist() if token >= 0]
            text = language.written(made)
            ends = [place for stop in settings.stop if (place := text.find(stop)) >= 0]
            done = bool(ends) or bool(set(made[-1:]) & set(language.ends)) or len(made) >= settings.max_new_tokens
            text = text[:min(ends)] if ends else text if done else text.rstrip("\ufffd")  # half a character
            if not done and settings.stop:  # nothing that could be the beginning of a text at which it ends
                text = text[:max(len(told), len(text) - max(map(len, settings.stop)) + 1)]
            yield text[len(told):]
            told, size = text, NEXT
            if ends:
                return


def talk(workdir: str, weights: str, chosen: list[str]) -> int:
    """Answers lines of standard input until it ends, each with all that was said before it in mind."""
    talker = Talker(asked_with(open_run(workdir, weights), chosen))
    sys.stdout.reconfigure(errors="backslashreplace")
    print(f"tfft: {HELP}", file=sys.stderr, flush=True)
    said: list[dict[str, str]] = []
    while line := _line():
        if not (text := line.strip()):
            continue
        if text == "/quit":
            return 0
        if text == "/new":
            said = []
            print("tfft: another conversation", file=sys.stderr, flush=True)
            continue
        said.append({"role": "user", "content": text})
        answer, _ = shown(talker(text if talker.continues else json.dumps(said)))
        if answer.strip():
            said.append({"role": "assistant", "content": answer})
        else:  # templates have no such message
            said.pop()
            print("tfft: an empty answer, which is forgotten with its question", file=sys.stderr, flush=True)
    return 0


def tell(workdir: str, weights: str, prompts: list[str], chosen: list[str]) -> int:
    """Writes the answer to each prompt as it is made; ctrl-C ends the command, with what is there."""
    talker = Talker(asked_with(open_run(workdir, weights), chosen))
    sys.stdout.reconfigure(errors="backslashreplace")
    for number, prompt in enumerate(prompts):
        if len(prompts) > 1:
            print(f"{chr(10) * (number > 0)}> {prompt}", flush=True)
        if prompt.strip() and not shown(talker(prompt))[1]:
            return STOPPED
    return 0


def shown(parts: Iterator[str]) -> tuple[str, bool]:
    """(an answer, whether it is whole): its parts on the terminal as they come, and a new line; ctrl-C stops it."""
    answer, whole = "", False
    try:
        for part in parts:
            answer += part
            print(part, end="", flush=True)
        whole = True
    except KeyboardInterrupt:
        pass
    print(flush=True)
    return answer, whole


def _line() -> str:
    """The next line with its end; "" where there is none."""
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline()
    except KeyboardInterrupt:
        return ""
