"""Language models that continue texts: answers, conversations, code. Settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

TEMPLATES = ("plain", "chatml", "llama3", "gemma")
OF_TOKENS = ("perplexity", "accuracy", "loss")
OF_TEXTS = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match", "parses")


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
class CausalLM(groups.Task):
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
    label_smoothing: float = setting(0.0, "share of a token's probability that is given to all tokens alike", low=0, high=0.5)
    z_loss: float = setting(0.0, "weight of log(Z)^2 in the loss, which holds logits near 0; 0.0001 is usual", low=0, high=1)
    max_new_tokens: int = setting(128, "tokens of an answer at most", low=1, high=8192, free=True)
    min_new_tokens: int = setting(0, "tokens of an answer at least", low=0, free=True)
    temperature: float = setting(0.0, "how much is left to chance: 0 takes the most probable token", low=0, high=10, free=True)
    top_k: int = setting(0, "chance: among so many of the most probable tokens; 0 is all", low=0, free=True)
    top_p: float = setting(1.0, "chance: among the fewest tokens of this probability together", low=0.01, high=1, free=True)
    min_p: float = setting(0.0, "chance: among tokens of at least this share of the best one's probability", low=0, high=1,
                           free=True)
    repetition_penalty: float = setting(1.0, "what the logits of tokens that are there already are divided by; 1 is off",
                                        low=0.1, high=10, free=True)
    no_repeat_ngram: int = setting(0, "no so many tokens stand in a row twice; 0 is off", low=0, high=8, free=True)
    beams: int = setting(1, "beam search with so many beams; 1 is off", low=1, high=32, free=True)
    length_penalty: float = setting(1.0, "beams: a text's log-probability is divided by its length to this power", low=-10,
                                    high=10, free=True)
    seed: int = setting(0, "of chance: the same seed, prompt and weights give the same text", low=0, free=True)
    stop: tuple[str, ...] = setting((), "texts at which an answer ends; they are not part of it", free=True)
    sample_rows: int = setting(32, "rows of an evaluation to which an answer is written, for ROUGE, BLEU and the like, always "
                                   "the same ones; 0: none", low=0, free=True)


def _metrics(task: CausalLM) -> tuple[str, ...]:
    return (*OF_TOKENS, *(OF_TEXTS if task.sample_rows else ()))


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
    if data.text_column and e.eval.metric in OF_TEXTS:
        raise UserError(f"config.eval.metric={e.eval.metric} compares answers with responses, and rows of "
                        f"config.data.text_column={data.text_column!r} have none. Take perplexity.")
    if task.beams > 1 and task.temperature > 0:
        raise UserError(f"config.task.beams={task.beams} searches for the most probable text, and temperature="
                        f"{task.temperature:g} leaves it to chance. Set beams to 1 or temperature to 0.")
    if task.min_new_tokens > task.max_new_tokens:
        raise UserError(f"config.task.min_new_tokens={task.min_new_tokens} is more than "
                        f"config.task.max_new_tokens={task.max_new_tokens}.")
    if "" in task.stop:
        raise UserError("config.task.stop has an empty text, at which every answer would end at once.")


CONFIG = TaskConfig(settings=CausalLM, data=CausalLMData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("a language model is judged by its perplexity"),
                    lower_is_better=("perplexity", "loss"))
