"""What each task makes of a file that nobody has described, by the task's name. Imports no TensorFlow."""

from tfft.tasks.causal_lm.guess import guesses as causal_lm_guesses
from tfft.tasks.embedding.guess import guesses as embedding_guesses
from tfft.tasks.multiple_choice.guess import guesses as multiple_choice_guesses
from tfft.tasks.question_answering.guess import guesses as question_answering_guesses
from tfft.tasks.seq2seq.guess import guesses as seq2seq_guesses
from tfft.tasks.text_classification.guess import guesses as text_classification_guesses
from tfft.tasks.token_classification.guess import guesses as token_classification_guesses

# name -> (look at the file, columns that are known by setting) -> guesses
GUESSES = {
    "text_classification": text_classification_guesses,
    "token_classification": token_classification_guesses,
    "question_answering": question_answering_guesses,
    "embedding": embedding_guesses,
    "multiple_choice": multiple_choice_guesses,
    "causal_lm": causal_lm_guesses,
    "seq2seq": seq2seq_guesses,
}
