"""OpenAI's API for language models beside TF Serving's: POST /v1/completions and /v1/chat/completions, whole or as a stream of
server-sent events. Answers are made by the signature `continue`, whose options are each row's own: requests that wait are
computed together."""

import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import numpy as np
from aiohttp import web

from tfft.data.chat_template import ChatTemplate
from tfft.data.conversation import SYSTEM, Message, prompt
from tfft.data.fields import Unusable
from tfft.errors import UserError
from tfft.serving.server.inference import Inference, Request
from tfft.serving.server.refusal import Code, Refusal, invalid, utf8

CHAT = "assets.extra/chat.json"
PATHS = {"/v1/completions": "text_completion", "/v1/chat/completions": "chat.completion"}
FIRST, NEXT = 2, 8  # tokens of a stream's first event, and of the others
MOST_STOPS, MOST_TOKENS = 4, 1 << 30
UNKNOWN = "\ufffd"  # a character of which not all bytes are there yet is spelt so
RANGES = {"temperature": (0, 100), "top_p": (0, 1), "min_p": (0, 1), "repetition_penalty": (0.01, 100), "top_k": (0, 1 << 30),
          "seed": (-(1 << 31), (1 << 31) - 1)}
WHOLE = ("top_k", "seed")
REFUSED = ("frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias", "tools", "functions", "suffix",
           "echo", "response_format", "audio")


class Asked(NamedTuple):
    """most: new tokens; usual: of most requests; options: the other ones of `continue`; stops: texts at which the answer ends,
    the export's too."""

    prompt: bytes
    most: int
    usual: int
    options: dict[str, float]
    stops: tuple[str, ...]


class Made(NamedTuple):
    """text: what can be sent by now; reason: None until it has ended."""

    text: str
    reason: str | None
    prompt_tokens: int
    tokens: int


class OpenAI:
    """Answers for all models that were exported with a chat.json."""

    def __init__(self, inference: Inference):
        self.inference = inference

    async def __call__(self, request: web.Request, body: bytes, kind: str, asked: Request) -> web.StreamResponse:
        """Raises: Refusal before anything was sent."""
        document = parsed(body)
        asked.name, asked.signature = _model(document), "continue"
        with self.inference.counted("rest", "completion", asked):
            version, _ = self.inference.models.find(asked.name, None, "")
            asked.version = version.number
            chat = _chat(version.folder)
            understood = _asked(document, chat, kind)
            head = {"id": f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{uuid.uuid4().hex}", "object": kind,
                    "created": int(time.time()), "model": asked.name}
            if document.get("stream"):
                made = self._made(asked, understood, FIRST, NEXT)
                return await self._stream(request, made, head, bool(_stream_options(document).get("include_usage")))
            made = [one async for one in self._made(asked, understood, understood.most, understood.most)][-1]
            return web.json_response({**head, "choices": [choice(kind, made.text, made.reason)], "usage": used(made)})

    async def _made(self, asked: Request, understood: Asked, first: int, following: int) -> AsyncIterator[Made]:
        """The answer as it grows. Between two calls the server is free for others."""
        tokens, step = np.zeros([1, 0], np.int32), first
        while True:
            count = tokens.shape[1]
            options = {**understood.options, "max_new_tokens": min(step, understood.most - count)}
            tokens = _padded(tokens, understood.usual)
            _, outputs = await self.inference.predict(asked, lambda signature, options=options, tokens=tokens: _inputs(
                signature, understood.prompt, tokens, options))
            tokens, step = outputs["tokens"][:, outputs["tokens"][0] >= 0], following
            text, stopped = cut(outputs["text"][0].decode("utf-8", "replace"), understood.stops)
            ended = stopped or bool(outputs["done"][0])
            full = tokens.shape[1] >= understood.most or tokens.shape[1] == count
            reason = "stop" if ended else "length" if full else None
            text = text if reason else sure(text, understood.stops)
            yield Made(text, reason, int(outputs["prompt_tokens"][0]), tokens.shape[1])
            if reason:
                return

    async def _stream(self, request: web.Request, answer: AsyncIterator[Made], head: dict, usage: bool) -> web.StreamResponse:
        """What goes wrong before the first event is a Refusal, later an event of its own."""
        made = await anext(answer)
        chat, sent = head["object"].startswith("chat"), 0
        head = {**head, "object": "chat.completion.chunk"} if chat else head
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache",
                                               "X-Content-Type-Options": "nosniff"})
        await response.prepare(request)
        if chat:
            await _send(response, {**head, "choices": [_part({"role": "assistant", "content": ""}, None)]})
        try:
            while True:
                new, sent = made.text[sent:], max(sent, len(made.text))
                if new or made.reason:
                    delta = _part({"content": new} if new else {}, made.reason)
                    await _send(response, {**head, "choices": [delta if chat else choice(head["object"], new, made.reason)]})
                if made.reason:
                    break
                made = await anext(answer)
            if usage:
                await _send(response, {**head, "choices": [], "usage": used(made)})
            await response.write(b"data: [DONE]\n\n")
        except Refusal as refusal:
            await _send(response, error(refusal))
        except ConnectionError:  # the client is gone
            pass
        return response


async def _send(response: web.StreamResponse, event: dict) -> None:
    await response.write(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")


def _part(delta: dict, reason: str | None) -> dict:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def choice(kind: str, text: str, reason: str | None) -> dict:
    said = {"message": {"role": "assistant", "content": text}} if kind.startswith("chat") else {"text": text}
    return {"index": 0, **said, "logprobs": None, "finish_reason": reason}


def used(made: Made) -> dict[str, int]:
    return {"prompt_tokens": made.prompt_tokens, "completion_tokens": made.tokens,
            "total_tokens": made.prompt_tokens + made.tokens}


def error(refusal: Refusal) -> dict:
    kind = "invalid_request_error" if refusal.http < 500 else "server_error"
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code.name.lower()}}


def cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """(what stands before the first of the stops, whether there is one)"""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[:min(found)], True) if found else (text, False)


def sure(text: str, stops: tuple[str, ...]) -> str:
    """What stays, whatever follows: no half character, nothing with which a stop could begin. "Hi Us", ["User"] -> "Hi " """
    text = text.rstrip(UNKNOWN)
    held = max((size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0)
    return text[:len(text) - held]


def parsed(body: bytes) -> dict:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise invalid(f"the request is no JSON: {wrong}") from wrong
    if not isinstance(document, dict):
        raise invalid("the request must be a JSON object")
    return document


def _model(document: dict) -> str:
    if not isinstance(name := document.get("model"), str) or not name:
        raise invalid('"model" must be the name of a served model; GET /v1/models lists them')
    return name


def _chat(folder) -> dict:
    try:
        return json.loads((folder / CHAT).read_text("utf-8"))
    except (OSError, ValueError) as wrong:
        raise Refusal(Code.FAILED_PRECONDITION,
                      "this model answers no prompts: it is no language model exported by tfft") from wrong


def _stream_options(document: dict) -> dict:
    if not isinstance(options := document.get("stream_options") or {}, dict):
        raise invalid('"stream_options" must be an object')
    return options


def _asked(document: dict, chat: dict, kind: str) -> Asked:
    for name in REFUSED:
        if document.get(name):
            raise invalid(f'"{name}" is not supported; leave it out')
    if document.get("n") not in (None, 1) or document.get("best_of") not in (None, 1):
        raise invalid('"n" and "best_of" can only be 1: ask again for another answer, with another "seed"')
    options = {name: _number(document, name, usual) for name, usual in chat["usual"].items()}
    if document.get("seed") is None and options["temperature"]:
        options["seed"] = random.getrandbits(31)
    most = next((document[name] for name in ("max_completion_tokens", "max_tokens") if document.get(name) is not None),
                chat["max_new_tokens"])
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise invalid('"max_tokens" must be a whole number from 1 on')
    stop = document.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or len(stop) > MOST_STOPS or not all(isinstance(one, str) and one for one in stop):
        raise invalid(f'"stop" must be a text, or a list of up to {MOST_STOPS} texts, that are not empty')
    text = _conversation(document, chat) if kind.startswith("chat") else _prompt(document)
    return Asked(utf8(text), min(most, MOST_TOKENS), chat["max_new_tokens"], options, (*stop, *chat["stop"]))


def _number(document: dict, name: str, usual: float) -> float:
    value = document.get(name)
    if value is None or name not in RANGES:
        return usual
    low, high = RANGES[name]
    kinds = (int,) if name in WHOLE else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(f'"{name}" must be a {"whole " if name in WHOLE else ""}number from {low} to {high}')
    return value


def _prompt(document: dict) -> str:
    text = document.get("prompt")
    text = text[0] if isinstance(text, list) and len(text) == 1 else text
    if not isinstance(text, str) or not text:
        raise invalid('"prompt" must be a text, or a list of one text, that is not empty')
    return text


def _conversation(document: dict, chat: dict) -> str:
    if chat["texts"]:
        raise Refusal(Code.FAILED_PRECONDITION, "this model continues texts and knows no conversations: ask /v1/completions")
    try:
        messages = prompt(document.get("messages"), "messages")
        if chat["system"] and messages[0].role != SYSTEM:
            messages = Message(SYSTEM, chat["system"]), *messages
        return ChatTemplate(**chat["template"]).render(messages, True)
    except (Unusable, UserError) as wrong:
        raise invalid(f'"messages": {wrong}') from wrong


def _padded(tokens: np.ndarray, usual: int) -> np.ndarray:
    """int32[1,n] with -1 up to a multiple of the usual number of tokens: only what has one shape is computed together."""
    return np.pad(tokens, [(0, 0), (0, -tokens.shape[1] % usual or (0 if tokens.shape[1] else usual))], constant_values=-1)


def _inputs(signature, prompt: bytes, tokens: np.ndarray, options: dict[str, Any]) -> dict[str, np.ndarray]:
    given = {name: np.array([value], signature.inputs[name].dtype.as_numpy_dtype) for name, value in options.items()
             if name in signature.inputs}
    return {"prompt": np.array([prompt], object), "tokens": tokens, **given}
