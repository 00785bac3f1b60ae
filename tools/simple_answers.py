"""What prompts by themselves, and their first sentences, reach as answers: on the rows that a run of causal_lm is judged by.

    python tools/simple_answers.py --workdir=runs/summaries
"""

import argparse

from tfft.run.judge import own_split
from tfft.run.workdir import open_run
from tfft.tasks.causal_lm.judging import samples
from tfft.tasks.seq2seq.judging import SENTENCE
from tfft.tasks.texts.metrics import METRICS, text_metrics
from tfft.training.summaries import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", default="validation")
    arguments = parser.parse_args()
    run = open_run(arguments.workdir, "")
    store, rows = (split := own_split(run, arguments.split, print)).store, split.rows
    chosen = samples(store, rows, run.experiment.task.sample_rows)
    right = [run.task.learnt.written(tokens).strip() or " " for _, _, tokens in chosen]
    prompts = [store.texts(row)[0].strip() for row, _, _ in chosen]
    first = [match[1] if (match := SENTENCE.match(prompt)) else prompt for prompt in prompts]
    found = [text_metrics(texts, right, tuple(METRICS)) for texts in (prompts, first)]
    print(f"{len(chosen)} rows of {arguments.split}")
    print(table([(name, *(each[name] for each in found)) for name in METRICS], ("", "the prompt", "its first sentence")))


if __name__ == "__main__":
    main()
