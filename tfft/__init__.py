"""tfft: fine-tuning for pretrained Transformers on TensorFlow and Keras.

    config = tfft.load_config("my_csv:tickets.csv")
    run = tfft.fine_tune(config, "runs/tickets")        # or tfft.open_run("runs/tickets")
    run.predict(["My invoice is wrong."])

Importing it imports no TensorFlow; docs/python.md has the rest.
"""

import os

__version__ = "0.1.0"

os.environ["KERAS_BACKEND"] = "tensorflow"  # before anyone imports keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters of the C++ runtime's messages is also raised in Python


def load_config(name: str):
    """The config that a file, or one that comes with tfft, makes: an ml_collections.ConfigDict whose fields can be set.

        load_config("imdb:quick")    load_config("my_csv:tickets.csv")    load_config("mine.py:variant")
    """
    from tfft import api

    return api.load_config(name)


def guess_config(file: str, learn: str = "", **known):
    """The config that `tfft init` would write for a file of rows; prints what it takes for what, and why.

        guess_config("tickets.csv")    guess_config("tickets.csv", text_column="body", label_column="queue")

    known: columns, or settings that read the file (encoding, delimiter, quoting, header), by the names of config.data; learn:
    what is to be learnt, where the file leaves it open. Raises: UserError with the candidates where guesses are equally
    good.
    """
    from tfft import api

    return api.guess_config(file, learn, **known)


def fine_tune(config, workdir: str = ""):
    """Trains, or resumes, what a config says, and opens the run; of several tasks {name: run}. The same call again continues
    where it stands.

    config: a ConfigDict, a nested dict of settings, or a name as for load_config; workdir: '' is runs/<config.name>.
    Raises: UserError for a mistake in config or data; KeyboardInterrupt after an interrupt, when all is saved.
    """
    from tfft import api

    return api.fine_tune(config, workdir)


def open_run(workdir: str, weights: str = ""):
    """A trained run, with predict, evaluate and export. weights: 'best', 'last', or '' for what config.export.weights says."""
    from tfft import api

    return api.Run(workdir, weights)
