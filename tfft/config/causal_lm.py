"""Language models that continue texts: answers, conversations, code. Settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups, writing
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.config.writing import Writing
from tfft.errors import UserError

TEMPLATES = ("plain", "chatml", "llama3", "gemma")


@dataclasses.dataclass(frozen=True)
class CausalLMData(groups.Data):
    """Which column is what."""

    max_length: int = setting(512, "longest example in tokens; a longer prompt is answered by its end", low=8)
    prompt_column: str = setting("prompt", "column of the prompt", own=True)
    context_column: str = setting("", "column of a text that follows the prompt where it is not empty (Alpaca's input, "
                                      "Dolly's context); '' for none", own=True)
    response_column: str = setting("response", "column of the response", own=True)
    messages_column: str = setting("", "column of whole conversations instead: lists of messages with role and content "
                                       "(OpenAI) or from and value (ShareGPT), perhaps as JSON", own=True)
    text_column: str = setting("", "column of plain texts instead, to be continued; text: and files: sources have the column "
                                   "'text'", own=True)
    window_overlap: int = setting(1, "plain texts: tokens that a part of a long text shares with the one before it, as what "
                                     "came before, half of max_length at most; each token is learnt, and judged, once", low=1)

    @property
    def overlap(self) -> int:
        """Of texts, in tokens; 0 where rows are cut instead."""
        return min(self.window_overlap, self.max_length // 2) if self.text_column else 0


@dataclasses.dataclass(frozen=True)
class CausalLM(Writing):
    """The next token of a text is learnt, and texts are continued."""

    name: str = setting("causal_lm", "the task", choices=("causal_lm",))
    template: str = setting("auto", "what stands around prompts and responses: that of the checkpoint, where it has one, or "
                                    "plain, chatml, llama3, gemma, or file:PATH of a Jinja template")
    system: str = setting("", "system message before every conversation that has none; '' for none")
    special_tokens: str = setting("plain", "control tokens (<|im_end|>, <bos>) in prompts, messages, responses and texts: "
                                           "plain text, or control; the template's own are control always",
                                  choices=("plain", "control"))
    learn: str = setting("responses", "what of a conversation is learnt: the assistant's messages, its last one, or all",
                         choices=("responses", "last", "all"))
    pack: bool = setting(False, "several short examples share a row of max_length, each by itself; else each has its own")


def _fill(e):
    return e


def _check(e) -> None:
    data, task = e.data, e.task
    if task.template not in ("auto", *TEMPLATES) and not task.template.startswith("file:"):
        raise UserError(f"config.task.template={task.template}: take auto, {', '.join(TEMPLATES)}, or file:PATH of a Jinja "
                        "template.")
    if data.messages_column and data.text_column:
        raise UserError(f"config.data.messages_column={data.messages_column!r} and text_column={data.text_column!r}: rows are "
                        "either conversations or plain texts. Set one of the two to ''.")
    if not data.messages_column and not data.text_column:
        for name in ("prompt_column", "response_column"):
            if not getattr(data, name):
                raise UserError(f"config.data.{name} is empty: a row needs a prompt and its response (or set "
                                "config.data.messages_column for conversations, or text_column for plain texts).")
        if data.prompt_column == data.response_column:
            raise UserError(f"config.data.prompt_column and response_column are both {data.prompt_column!r}.")
    if data.text_column and e.eval.metric in writing.OF_TEXTS:
        raise UserError(f"config.eval.metric={e.eval.metric} compares answers with responses, and rows of "
                        f"config.data.text_column={data.text_column!r} have none. Take perplexity.")
    writing.check(task)


CONFIG = TaskConfig(settings=CausalLM, data=CausalLMData, metrics=writing.metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("a language model is judged by its perplexity"),
                    lower_is_better=writing.LOWER_IS_BETTER)
