"""All tasks, by name."""

from tfft.tasks.base import Task
from tfft.tasks.causal_lm.task import CausalLMTask
from tfft.tasks.embedding.task import EmbeddingTask
from tfft.tasks.masked_lm.task import MaskedLMTask
from tfft.tasks.multiple_choice.task import MultipleChoiceTask
from tfft.tasks.question_answering.task import QuestionAnsweringTask
from tfft.tasks.seq2seq.task import Seq2SeqTask
from tfft.tasks.text_classification.task import TextClassificationTask
from tfft.tasks.token_classification.task import TokenClassificationTask

TASKS: dict[str, type[Task]] = {
    "text_classification": TextClassificationTask,
    "token_classification": TokenClassificationTask,
    "question_answering": QuestionAnsweringTask,
    "embedding": EmbeddingTask,
    "masked_lm": MaskedLMTask,
    "causal_lm": CausalLMTask,
    "seq2seq": Seq2SeqTask,
    "multiple_choice": MultipleChoiceTask,
}
