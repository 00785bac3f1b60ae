"""Django's catalogues as a data set of translations: short texts of a user interface, and what its translators made of them.

    pip download --no-deps django==5.2.8
    python tools/make_translations.py --wheel=django-5.2.8-py3-none-any.whl --languages=de,fr --output=django.jsonl

A row is a message, "en", with its translation into each of the languages, where it has them all; plural forms and messages
without a word are left out.
"""

import argparse
import gettext
import json
import pathlib
import re
import zipfile

WORD = re.compile(r"[^\W\d_]{2}")


def messages(wheel: zipfile.ZipFile, language: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for name in sorted(wheel.namelist()):
        if name.endswith(f"/locale/{language}/LC_MESSAGES/django.mo"):
            with wheel.open(name) as file:
                catalogue = gettext.GNUTranslations(file)._catalog
            for message, translation in catalogue.items():
                if isinstance(message, str) and isinstance(translation, str) and WORD.search(message):
                    made.setdefault(message.rpartition("\x04")[2].strip(), translation.strip())  # what is before is its context
    return {message: translation for message, translation in made.items() if translation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", required=True, type=pathlib.Path)
    parser.add_argument("--languages", default="de")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        found = {language: messages(wheel, language) for language in arguments.languages.split(",")}
    common = set.intersection(*(set(each) for each in found.values()))
    rows = [{"en": message, **{language: found[language][message] for language in found}} for message in sorted(common)]
    arguments.output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    print(f"{len(rows):,} rows -> {arguments.output}")


if __name__ == "__main__":
    main()
