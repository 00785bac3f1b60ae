"""Add words to a backbone's vocabulary: python -m tfft.extend --words=words.txt --output=models/words [--backbone=...]"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.config import MINILM
from tfft.errors import UserError

BACKBONE = flags.DEFINE_string("backbone", MINILM, "What config.model.backbone can be; its vocabulary is WordPiece, as BERT's.")
WORDS = flags.DEFINE_string("words", "", "A text file with a new word a line.")
OUTPUT = flags.DEFINE_string("output", "", "Folder of the new backbone, which any config names as model.backbone.")
FORMAT = flags.DEFINE_enum("format", "backbone", ["backbone", "huggingface"], "KerasHub's format, or Hugging Face's (BERT).")


def main() -> int:
    if not WORDS.value or not OUTPUT.value:
        raise UserError("Name the words and the new folder: --words=words.txt --output=models/words")

    from tfft.assets import cache_folder, resolve_backbone
    from tfft.data.plain import read_lines
    from tfft.data.records import Broken, Record

    records = list(read_lines(WORDS.value, "utf-8"))
    if broken := [record for record in records if isinstance(record, Broken)]:
        raise UserError(f"{WORDS.value}: {broken[0].reason}. Write the file in UTF-8.")
    words = [record.values["text"] for record in records if isinstance(record, Record)]
    preset = resolve_backbone(BACKBONE.value, cache_folder())
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.backbone_folder import extend_backbone

    return extend_backbone(preset, words, OUTPUT.value, FORMAT.value)


if __name__ == "__main__":
    command_line.run(main)
