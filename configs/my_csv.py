"""Your own data: copy this file, name your CSV and its columns, done.

    cp configs/my_csv.py configs/tickets.py                    (or tfft init tickets.csv, which writes one)
    python -m tfft.plan --config=configs/tickets.py            look first: rows, labels, lengths, time
    python -m tfft.train --config=configs/tickets.py --workdir=runs/tickets

Without copying, the variant names the file: tfft train --config=my_csv:tickets.csv
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "my_csv"

    config.data.train = f"csv:{variant or 'my.csv'}"  # also tsv:, jsonl:, json:, parquet:, and patterns such as csv:data/*.csv
    config.data.text_column = "text"
    config.data.label_column = "label"
    config.data.validation = "10%"  # or a file of its own: csv:validation.csv
    config.data.max_length = 128  # in tokens; python -m tfft.plan shows how many texts are longer

    # config.data.text_pair_column = "answer"    # pairs of texts
    # config.task.problem = "multi_label"        # labels such as "billing,urgent" (config.data.label_separator), or 1,0,1
    # config.data.label_columns = ("billing", "urgent")  # a column of 0 and 1 for each label
    # config.task.problem = "regression"         # the label is a number
    # config.task.class_weights = "balanced"     # rare labels count more

    config.train.epochs = 0  # by the number of rows: about 250 steps, 3 to 10 epochs
    config.train.peak_learning_rate = 1e-4
    config.train.head_rate = 10.0  # the new layer above the backbone learns ten times as fast
    config.export.weights = "last"  # of the last step; "best" on many validation rows, or with eval.patience
    return config
