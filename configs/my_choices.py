"""Your own questions with candidates to choose from: copy this file, name your file and its columns, done.

    cp configs/my_choices.py configs/quiz.py
    python -m tfft.plan --config=configs/quiz.py            look first: rows, candidates, lengths, time
    python -m tfft.train --config=configs/quiz.py --workdir=runs/quiz

Without copying, the variant names the file: python -m tfft.train --config=configs/my_choices.py:quiz.jsonl
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("multiple_choice")
    config.name = "my_choices"

    config.data.train = variant or "my.jsonl"  # .jsonl, .json, .csv, .tsv, .parquet
    config.data.question_column = "question"
    config.data.choices_column = "choices"  # a list of texts, or {"label": [...], "text": [...]}
    config.data.label_column = "label"  # the right one: index from 0, letter, or text
    config.data.validation = "10%"  # or a file of its own
    config.data.max_length = 128  # in tokens, of one candidate with its question and context

    # config.data.context_column = "context"         # a text that the question is about; it is cut first
    # config.data.choice_columns = ("A", "B", "C")   # a column for each candidate, in place of choices_column
    # config.data.choice_column = "answer"           # a row for each candidate, with 1 or 0 as its label
    # config.data.label_values = "number"            # labels are counted from 1
    # config.task.loss = "binary"                    # a probability for each candidate by itself

    config.train.epochs = 3
    config.train.global_batch_size = 16  # rows; of each stand all its candidates in the batch
    config.train.peak_learning_rate = 1e-4
    return config
