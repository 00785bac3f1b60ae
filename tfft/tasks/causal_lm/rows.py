"""The fields of rows to learn a language model from. Imports no TensorFlow."""

import pathlib
from typing import Any

from tfft.behaviour.perturb import changed
from tfft.config import Experiment
from tfft.data import fields
from tfft.data.conversation import USER, as_text, conversation, last_answer
from tfft.data.conversation_columns import instruction
from tfft.data.fields import Field, Unusable


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """prompt: str, and what it is answered by: response, or messages. Of plain texts the prompt alone, which is the text."""
    data = experiment.data
    if data.text_column:
        return (Field("prompt", "text_column", data.text_column, fields.text),)
    if data.messages_column:
        return (Field("prompt", "messages_column", data.messages_column, _asked),
                Field("messages", "messages_column", data.messages_column, conversation, asked=False))
    more = (data.context_column,) if data.context_column else ()
    return (Field("prompt", "prompt_column", data.prompt_column, _prompt, more=more),
            Field("response", "response_column", data.response_column, _response, asked=False))


def disturbed(values: dict[str, Any], kind: str, share: float, seed: int) -> dict[str, Any] | None:
    """A row whose prompt is changed, or what the user says in its messages. A plain text is what is learnt: none is left."""
    if "messages" in values:
        return {**values, "messages": tuple(
            one._replace(content=changed(one.content, kind, share, seed)) if one.role == USER else one
            for one in values["messages"])}
    return {**values, "prompt": changed(values["prompt"], kind, share, seed)} if "response" in values else None


def _prompt(value: Any, column: str) -> str:
    """A prompt, with the context that may follow it."""
    if not isinstance(value, list):
        return fields.text(value, column)
    return instruction(fields.text(value[0], column), value[1])


def _response(value: Any, column: str) -> str:
    try:
        return fields.text(value, column)
    except Unusable as error:
        raise Unusable(str(error).replace("(its text)", "(the response)")) from error


def _asked(value: Any, column: str) -> str:
    """The messages before the last answer, as JSON: what is asked. Of a conversation that waits for an answer all of them."""
    from tfft.data.conversation import prompt

    try:
        return as_text(prompt(value, column))
    except Unusable:
        return as_text(last_answer(conversation(value, column))[0])
