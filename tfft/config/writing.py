"""Settings of tasks whose answers are texts that a model writes, token by token."""

import dataclasses

from tfft.config import groups
from tfft.config.schema import setting
from tfft.errors import UserError

OF_TOKENS = ("perplexity", "accuracy", "loss")
OF_TEXTS = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match", "parses")
LOWER_IS_BETTER = ("perplexity", "loss")


@dataclasses.dataclass(frozen=True)
class Writing(groups.Task):
    """How tokens are learnt, and how texts are made of them."""

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


def metrics(task: Writing) -> tuple[str, ...]:
    return (*OF_TOKENS, *(OF_TEXTS if task.sample_rows else ()))


def check(task: Writing) -> None:
    """Raises: UserError where settings do not fit together."""
    if task.beams > 1 and task.temperature > 0:
        raise UserError(f"config.task.beams={task.beams} searches for the most probable text, and temperature="
                        f"{task.temperature:g} leaves it to chance. Set beams to 1 or temperature to 0.")
    if task.min_new_tokens > task.max_new_tokens:
        raise UserError(f"config.task.min_new_tokens={task.min_new_tokens} is more than "
                        f"config.task.max_new_tokens={task.max_new_tokens}.")
    if "" in task.stop:
        raise UserError("config.task.stop has an empty text, at which every answer would end at once.")
