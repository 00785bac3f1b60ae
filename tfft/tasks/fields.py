"""Which fields of a row each task reads, by the task's name. Imports no TensorFlow: a wrong column is told before it is."""

from tfft.tasks.causal_lm.rows import row_fields as causal_lm_fields
from tfft.tasks.embedding.rows import row_fields as embedding_fields
from tfft.tasks.masked_lm.rows import row_fields as masked_lm_fields
from tfft.tasks.multiple_choice.rows import choices
from tfft.tasks.multiple_choice.rows import row_fields as multiple_choice_fields
from tfft.tasks.question_answering.rows import row_fields as question_answering_fields
from tfft.tasks.seq2seq.rows import row_fields as seq2seq_fields
from tfft.tasks.text_classification.rows import row_fields as text_classification_fields
from tfft.tasks.token_classification.rows import row_fields as token_classification_fields

# name -> (experiment, cache folder) -> fields
FIELDS = {
    "text_classification": text_classification_fields,
    "token_classification": token_classification_fields,
    "question_answering": question_answering_fields,
    "embedding": embedding_fields,
    "masked_lm": masked_lm_fields,
    "causal_lm": causal_lm_fields,
    "seq2seq": seq2seq_fields,
    "multiple_choice": multiple_choice_fields,
}
# sets of fields that a task also answers, beside the asked fields of its rows
ALSO = {"embedding": ({"text", "text_pair"}, {"text_pair"})}
# asked fields that are lists of texts, and what reads one of a value
LISTS = {"choices": choices}
