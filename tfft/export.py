"""Write a SavedModel that takes raw text: python -m tfft.export --workdir=runs/imdb [--output=models/imdb]

Several runs as one, by the mean of their answers: --workdir=runs/a --workdir=runs/b --output=models/both
Or what was pretrained alone, for other runs to start from: --format=backbone --output=models/my_backbone
Or what was learnt beside a frozen backbone: --format=adapter --output=adapters/mine"""

import re
import sys

from absl import flags

from tfft import flags as command_line
from tfft.config import Experiment, is_all_folds
from tfft.errors import UserError, unknown

WORKDIR = flags.DEFINE_multi_string("workdir", None, "Work directory of a run or a cross-validation. Given several times: "
                                    "of runs that answer together, by their mean.")
OUTPUT = flags.DEFINE_string("output", "", "Folder for the version folders; '' is <workdir>/export.")
WEIGHTS = flags.DEFINE_list("weights", [], "Which weights, and what they are kept in: best or last (default: what "
                            "config.export.weights says), float32 (default), bfloat16 or float16; e.g. last,bfloat16. All is "
                            "computed and answered in float32.")
CALIBRATED = flags.DEFINE_bool("calibrated", False, "Bake in what tfft calibrate has found for these weights.")
FORMAT = flags.DEFINE_enum("format", "saved_model", ["saved_model", "backbone", "huggingface", "adapter", "peft"],
                           "A SavedModel to serve; or the backbone alone, as a folder that any config names as "
                           "model.backbone, in KerasHub's format or in Hugging Face's (BERT); or what config.adaptation has "
                           "trained alone, in tfft's format or in PEFT's.")

ADAPTERS = flags.DEFINE_list("adapters", [], "Other runs with config.adaptation over the same backbone, as NAME=WORKDIR,...: "
                             "one SavedModel serves all, each by the signature of its name.")
UNMERGED = flags.DEFINE_bool("unmerged", False, "Leave what config.adaptation has trained beside the backbone's weights, "
                             "which the local server then has in memory once for all such models; an answer takes longer.")

WHICH, DTYPES = ("best", "last"), ("float32", "bfloat16", "float16")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")

    which, dtype = parse_weights(WEIGHTS.value)
    if FORMAT.value != "saved_model" and (dtype != "float32" or CALIBRATED.value):
        raise UserError(f"--format={FORMAT.value} is in float32: {dtype} and --calibrated go with a SavedModel.")

    adapters = parse_adapters(ADAPTERS.value)
    for flag, given in (("adapters are", adapters), ("unmerged is", UNMERGED.value)):
        if given and FORMAT.value != "saved_model":
            raise UserError(f"--{flag} for a SavedModel, not for --format={FORMAT.value}.")

    from tfft.run.workdir import Workdir

    path, *others = WORKDIR.value
    experiments = [Workdir(one).experiment() for one in (path, *adapters.values(), *others)]
    _check_together(experiments[0], others, adapters)
    if UNMERGED.value and experiments[0].adaptation.method == "none":
        raise UserError(f"--unmerged: {path} was trained without config.adaptation.method, so there is nothing to "
                        "merge. Leave the flag out.")
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    if FORMAT.value in ("adapter", "peft"):
        from tfft.serving.adapter_folder import export_adapter

        return export_adapter(path, OUTPUT.value, which, FORMAT.value)

    if FORMAT.value != "saved_model":
        from tfft.serving.backbone_folder import export_backbone

        return export_backbone(path, OUTPUT.value, which, FORMAT.value)

    from tfft.serving.export import export

    return export(path, OUTPUT.value, which, dtype, CALIBRATED.value, adapters, UNMERGED.value, others)


def _check_together(experiment: Experiment, others: list[str], adapters: dict[str, str]) -> None:
    """Raises: UserError where several runs, or those of folds, are to be what only one can be."""
    if not others and not is_all_folds(experiment):
        return
    one = "Name one run, of a cross-validation one of its folds."
    for told, given in ((f"--format={FORMAT.value}", FORMAT.value != "saved_model"), ("--calibrated", CALIBRATED.value),
                        ("--adapters", adapters), ("--unmerged", UNMERGED.value)):
        if given:
            raise UserError(f"{told} is for one run, and this is the mean of several. {one}")
    if others and not OUTPUT.value:
        raise UserError("Several runs as one belong to none of their work directories: name a folder with --output.")


def parse_adapters(words: list[str]) -> dict[str, str]:
    """["tickets=runs/a"] -> {"tickets": "runs/a"}. Raises: UserError."""
    made = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not path or not re.fullmatch(r"[A-Za-z]\w*", name) or name in made:
            raise UserError(f"--adapters: {word!r} is no NAME=WORKDIR with a name of its own, of letters, digits and _.")
        made[name] = path
    return made


def parse_weights(words: list[str]) -> tuple[str, str]:
    """["last", "bfloat16"] -> ("last", "bfloat16"). Raises: UserError."""
    for word in words:
        if word not in WHICH + DTYPES:
            raise UserError(f"--weights: {unknown('value', word, WHICH + DTYPES)}")
    which, dtypes = ([word for word in words if word in known] for known in (WHICH, DTYPES))
    if len(which) > 1 or len(dtypes) > 1:
        raise UserError(f"--weights={','.join(words)}: one of {', '.join(WHICH)}, and one of {', '.join(DTYPES)}.")
    return which[0] if which else "", dtypes[0] if dtypes else "float32"


if __name__ == "__main__":
    command_line.run(main)
