"""The console command: tfft COMMAND [flags]."""

import runpy
import sys

COMMANDS = {
    "init": "look at a file of rows, and write a config for it",
    "train": "fine-tune a pretrained Transformer",
    "evaluate": "judge a run on its test rows or on other data",
    "report": "write a page on how good a run is, and where it fails",
    "compare": "tell which of several runs is better, and how sure that is",
    "predict": "answer texts, or a file of them",
    "chat": "talk with a language model on the terminal",
    "calibrate": "fit a temperature on the validation rows, and when to abstain",
    "export": "write a SavedModel that takes raw text",
    "extend": "add words to a backbone's vocabulary",
    "index": "embed a corpus for search",
    "search": "find texts in an index",
    "mine": "find hard negatives for training pairs",
    "serve": "answer by REST and gRPC as TF Serving does",
    "explain": "show which words make a run answer so",
    "check_data": "find leaks, copies and doubtful labels before training",
    "plan": "look at data, lengths, steps and time before training",
    "lr_find": "see at which learning rates the loss falls",
    "tune": "search for good settings, over many runs",
    "prepare": "tokenise ahead of training, in shards, perhaps on many machines",
    "preflight": "compile the training step for a TPU, without one",
}


def main() -> None:
    from tfft.errors import unknown

    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print("usage: tfft COMMAND [flags]        (tfft COMMAND --help lists the flags)\n")
        print("\n".join(f"  {command:12}{what}" for command, what in COMMANDS.items()))
        return
    if name == "--version":
        from tfft import __version__

        print(__version__)
        return
    if name not in COMMANDS:
        print(f"tfft: error: {unknown('command', name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    runpy.run_module(f"tfft.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
