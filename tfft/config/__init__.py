"""The schema of experiments: groups of settings, tasks with theirs, rules between them.

Imports no TensorFlow: a typing mistake is reported within the first second.
"""

from tfft.config.adaptation import Adaptation
from tfft.config.causal_lm import CausalLM, CausalLMData
from tfft.config.embedding import Embedding, EmbeddingData
from tfft.config.experiment import (
    TASKS,
    Experiment,
    answering,
    by_source,
    check_limits,
    classes_of,
    default_config,
    default_experiment,
    differences,
    from_json,
    named_sources,
    no_activation_cache,
    resolve,
    split_share,
    to_json,
)
from tfft.config.folds import Folds, is_all_folds
from tfft.config.folds import runs as fold_runs
from tfft.config.groups import (
    MINILM,
    MOVIE_REVIEWS,
    MULTILINGUAL,
    SMOLLM2,
    Data,
    Distribution,
    Eval,
    Export,
    Model,
    Task,
    TaskConfig,
    Train,
)
from tfft.config.masked_lm import MaskedLM, MaskedLMData
from tfft.config.mixture import Mixture, in_source
from tfft.config.multi_task import (
    MultiTask,
    any_from_json,
    any_to_json,
    differences_of_tasks,
    in_task,
    multi_task_config,
    of_task,
    resolve_any,
)
from tfft.config.multiple_choice import MultipleChoice, MultipleChoiceData
from tfft.config.question_answering import QuestionAnswering, QuestionAnsweringData
from tfft.config.seq2seq import Seq2Seq, Seq2SeqData
from tfft.config.text_classification import Augmentation, TextClassification, TextClassificationData
from tfft.config.token_classification import TokenClassification, TokenClassificationData
from tfft.config.writing import Writing

__all__ = [
    "MINILM", "MOVIE_REVIEWS", "MULTILINGUAL", "SMOLLM2", "TASKS", "Adaptation", "Augmentation", "CausalLM", "CausalLMData",
    "Data", "Distribution", "Embedding", "EmbeddingData", "Eval", "Experiment", "Export", "Folds", "MaskedLM", "MaskedLMData",
    "Mixture", "Model", "MultiTask", "MultipleChoice", "MultipleChoiceData", "QuestionAnswering", "QuestionAnsweringData",
    "Seq2Seq", "Seq2SeqData", "Task", "TaskConfig", "TextClassification", "TextClassificationData", "TokenClassification",
    "TokenClassificationData", "Train", "Writing", "answering", "any_from_json", "any_to_json", "by_source", "check_limits",
    "classes_of", "default_config", "default_experiment", "differences", "differences_of_tasks", "fold_runs", "from_json",
    "in_source", "in_task", "is_all_folds", "multi_task_config", "named_sources", "no_activation_cache", "of_task", "resolve",
    "resolve_any", "split_share", "to_json",
]
