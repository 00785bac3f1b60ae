"""Which sentence of its context answers a question: rows of multiple choice from SQuAD 1.1's JSON.

    python tools/make_sentence_choices.py train-v1.1.json train.jsonl
    python tools/make_sentence_choices.py dev-v1.1.json dev.jsonl --rows=1000
    tfft train --config=my_choices:train.jsonl --config.data.test=jsonl:dev.jsonl --config.data.id_column=context \
        --workdir=runs/sentences

A row has the question, up to --most sentences around the one that holds the first answer, in their order, the index of that
one, and the context, by which rows are split. Left out, and counted: questions whose context is one sentence, and whose answer
is in no sentence whole. --rows are drawn evenly over the file.
"""

import argparse
import json
import re
from pathlib import Path

END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]*[A-Z0-9])")
NO_END = re.compile(r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Sr|Jr|vs|No|Inc|Co|Ltd|U\.S|etc|ca?|approx|Gen|Col|Sen|Rep|Gov|Prof))\.$")


def sentences(context: str) -> list[tuple[int, int]]:
    """(begin, end) of each sentence, by the signs that end one: "It rains. Mr. A sleeps." -> [(0, 9), (10, 23)]"""
    begin, made = 0, []
    for found in END.finditer(context):
        if not NO_END.search(context[begin:found.start()]):
            made.append((begin, found.start() + len(found[0].rstrip())))
            begin = found.end()
    return [*made, (begin, len(context.rstrip()))]


def around(place: int, count: int, most: int) -> range:
    """At most so many places around one, of `count`: around(9, 12, 4) -> range(7, 11)"""
    begin = max(0, min(place - most // 2, count - most))
    return range(begin, min(count, begin + most))


def row(question: str, context: str, start: int, text: str, most: int) -> dict | None:
    """The row of a question; None where there is nothing to choose."""
    found = sentences(context)
    place = next((i for i, (begin, end) in enumerate(found) if begin <= start and start + len(text) <= end), -1)
    if place < 0 or len(found) < 2:
        return None
    kept = around(place, len(found), most)
    return {"question": question.strip(), "choices": [context[slice(*found[i])] for i in kept], "label": place - kept.start,
            "context": context}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--most", type=int, default=8, help="sentences of a row")
    parser.add_argument("--rows", type=int, default=0, help="rows drawn; 0 is all")
    arguments = parser.parse_args()
    if not arguments.squad.is_file():
        parser.error(f"there is no file {arguments.squad}")
    made, left_out = [], 0
    for article in json.loads(arguments.squad.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answer = asked["answers"][0]
                one = row(asked["question"], paragraph["context"], answer["answer_start"], answer["text"], arguments.most)
                made += [one] if one else []
                left_out += one is None
    count = min(arguments.rows or len(made), len(made))
    drawn = [made[i * len(made) // count] for i in range(count)]
    arguments.output.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in drawn), "utf-8")
    mean = sum(len(one["choices"]) for one in drawn) / max(1, count)
    print(f"{arguments.output}: {count:,} of {len(made):,} rows of {mean:.1f} sentences; {left_out:,} questions left out")


if __name__ == "__main__":
    main()
