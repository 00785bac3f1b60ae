"""Several tasks of your own on one backbone: copy this file, name your data and its columns, done.

    cp configs/my_tasks.py configs/tickets.py
    python -m tfft.plan --config=configs/tickets.py            look first: rows of each task, lengths, steps
    python -m tfft.train --config=configs/tickets.py --workdir=runs/tickets
    python -m tfft.evaluate --workdir=runs/tickets/topics      each task's folder is a run as any other

Without copying: tfft train --config=my_tasks --config.tasks.topics.data.train=csv:topics.csv
--config.tasks.entities.data.train=conll:entities.conll. When this helps, and when not: docs/methods.md.
"""

from tfft.config import default_config, multi_task_config


def get_config(variant: str = ""):
    topics = default_config("text_classification")
    topics.data.train = "csv:topics.csv"
    topics.data.text_column = "text"
    topics.data.label_column = "label"
    topics.data.max_length = 128
    topics.train.head_rate = 10.0  # the new layer above the backbone learns ten times as fast

    entities = default_config("token_classification")
    entities.data.train = "conll:entities.conll"  # one token a line, an empty line between sentences
    entities.data.words_column = "0"
    entities.data.tags_column = "-1"
    entities.data.max_length = 128

    # Any config of a task will do: sentiment = tfft.load_config("my_csv:reviews.csv")

    config = multi_task_config(topics=topics, entities=entities)  # names are yours: folders, and what metrics begin with
    config.name = "my_tasks"
    config.tasks.topics.rate = 1.0  # shares of the examples of a step: 2 and 1 are two thirds and one third
    config.tasks.entities.rate = 1.0

    # What is common is set here: config.model.backbone, config.adaptation, config.distribution, config.train, config.eval.
    config.train.global_batch_size = 32  # of all tasks together
    config.train.epochs = 5  # an epoch is as many steps as have as many examples as all tasks together
    config.train.peak_learning_rate = 1e-4
    return config
