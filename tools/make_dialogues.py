"""The conversations of chatterbot-corpus as rows of messages: small talk, a help desk, trivia.

    pip download --no-deps chatterbot-corpus==1.3.3
    python tools/make_dialogues.py --wheel=chatterbot_corpus-1.3.3-py2.py3-none-any.whl --output=dialogues.jsonl
    python -m tfft.train --config=configs/my_chat.py:jsonl:dialogues.jsonl --workdir=runs/dialogues

A row is a conversation of the user, who begins, and the assistant, who ends; "topic" is the file that it is of. Needs the
package pyyaml.
"""

import argparse
import json
import pathlib
import zipfile

import yaml

ROLES = ("user", "assistant")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", required=True, type=pathlib.Path)
    parser.add_argument("--language", default="english")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    rows: dict[str, dict] = {}
    with zipfile.ZipFile(arguments.wheel) as wheel:
        for name in sorted(wheel.namelist()):
            if f"/{arguments.language}/" in name and name.endswith(".yml"):
                for lines in yaml.safe_load(wheel.read(name))["conversations"]:
                    texts = [text for line in lines if (text := str(line).strip())]
                    messages = [{"role": ROLES[i % 2], "content": text} for i, text in enumerate(texts[:len(texts) // 2 * 2])]
                    if messages:
                        rows.setdefault(json.dumps(messages), {"topic": pathlib.PurePath(name).stem, "messages": messages})
    with arguments.output.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
    print(f"{len(rows):,} conversations in {arguments.output}")


if __name__ == "__main__":
    main()
