"""Your own questions and answers: copy this file, name your file and its columns, done.

    cp configs/my_answers.py configs/manuals.py
    python -m tfft.plan --config=configs/manuals.py            look first: rows, windows, lengths, time
    python -m tfft.train --config=configs/manuals.py --workdir=runs/manuals

Without copying, the variant names the file: tfft train --config=my_answers:manuals.jsonl
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("question_answering")
    config.name = "my_answers"

    config.data.train = variant or "my.jsonl"  # .jsonl, .json (also SQuAD's), .csv, .tsv, .parquet
    config.data.question_column = "question"
    config.data.context_column = "context"
    config.data.answers_column = "answers"  # a text, a list of them, or with their starts: docs/question_answering.md
    # config.data.answer_start_column = "start"  # where each text begins, in characters; without, it is looked for
    config.data.validation = "10%"  # or a file of its own
    config.data.id_column = config.data.context_column  # all questions on a context are on one side of the split
    config.data.max_length = 256  # in tokens; longer contexts are read in windows

    # config.data.on_broken_row = "skip"         # leave rows out whose answer is not in the context
    # config.task.no_answer = "no"               # always answer, although some training rows have no answer
    # config.task.max_answer_tokens = 60

    config.train.epochs = 3
    config.train.global_batch_size = 16
    config.train.peak_learning_rate = 2e-4
    return config
