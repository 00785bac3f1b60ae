"""Real command lines, each in a process of its own. Where one is refused, TensorFlow was not loaded yet."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = '''from tfft.config import default_config


def get_config(variant=""):
    config = default_config()
    config.data.train = "csv:a.csv"
    {line}
    return config
'''
# A command with nothing behind it but the flags: prints what was understood.
COMMAND = '''import sys
from tfft import flags
from tfft.errors import UserError
flags.define_config()


def main():
    experiment = flags.experiment()
    assert "tensorflow" not in sys.modules
    print(experiment.train.epochs, experiment.train.deterministic, experiment.data.labels, experiment.train.length_buckets)


flags.run(main)
'''


def run(folder, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


@pytest.fixture
def folder(tmp_path):
    """A folder with good.py, a config, and command.py."""
    (tmp_path / "good.py").write_text(CONFIG.format(line=""))
    (tmp_path / "command.py").write_text(COMMAND)
    return tmp_path


def told(folder, *command: str, code: int = 2) -> str:
    """What a refused command says, on one line."""
    made = run(folder, *command)
    assert made.returncode == code, made.stderr
    assert "Traceback" not in made.stderr and made.stdout == ""
    return " ".join(made.stderr.split())


@pytest.mark.parametrize("arguments, expected", [
    ([], "3 True () ()"),
    (["--config.train.epochs=2", "--config.train.epochs=4"], "4 True () ()"),
    (["--config.train.epochs", "4", "--config.train.deterministic"], "4 True () ()"),
    (["--config.train.deterministic=false"], "3 False () ()"),
    (["--noconfig.train.deterministic"], "3 False () ()"),
    (["--config.data.labels=('a','b c')"], "3 True ('a', 'b c') ()"),
    (["--config.data.labels=a", "--config.data.labels=b"], "3 True ('a', 'b') ()"),
    (["--config.train.length_buckets=64,128"], "3 True () (64, 128)"),
])
def test_overrides(folder, arguments, expected):
    made = run(folder, "command.py", "--config=good.py", *arguments)
    assert (made.returncode, made.stdout.strip()) == (0, expected), made.stderr


@pytest.mark.parametrize("arguments", [["--config=imdb:quick"], ["--config", "imdb"]])
def test_configs_that_come_with_tfft_have_names(folder, arguments):
    made = run(folder, "command.py", *arguments, "--config.train.epochs=4")
    assert (made.returncode, made.stdout.strip()) == (0, "4 True ('neg', 'pos') ()"), made.stderr


@pytest.mark.parametrize("argument, message", [
    ("--config.train.epoch=2", "tfft: error: --config.train.epoch: Unknown setting 'epoch'. Did you mean 'epochs'? Known: epo"),
    ("--config.epochs=2", "distribution, export. There is config.train.epochs."),
    ("--config.train.epochs=two", "--config.train.epochs=two: must be int. (passes over the training rows;"),
    ("--config.train.epochs=2.5", "--config.train.epochs=2.5: must be int."),
    ("--config.train.epochs=-1", "config.train.epochs is -1; it must be at least 0. (passes over the training rows;"),
    ("--config.train.deterministic=yes", "--config.train.deterministic=yes: must be true or false."),
    ("--config.train.schedule=linaer", "config.train.schedule: Unknown value 'linaer'. Did you mean 'linear'?"),
    ("--config.data.labels=a,b", "--config.data.labels=a,b: must be a tuple such as ('a','b')"),
    ("--config.train=3", "--config.train is a group of settings; name one of them: epochs, steps,"),
    ("--config.train.epochs.x=3", "--config.train.epochs.x: config.train.epochs is a int, not a group."),
    ("--noconfig.train.determinstic", "Unknown setting 'determinstic'. Did you mean 'deterministic'?"),
    ("--config.train.epochs", "Missing value for flag --config.train.epochs"),
    ("--confg=x", "Unknown command line flag 'confg'. Did you mean: config ?"),
    ("extra", "Unexpected argument 'extra': values follow a flag, as in --workdir=runs/imdb."),
])
def test_mistakes_in_overrides(folder, argument, message):
    assert message in told(folder, "command.py", "--config=good.py", argument)


@pytest.mark.parametrize("arguments, message", [
    ([], "Name an experiment: --config=imdb:quick, or a config file of your own"),
    (["--config"], "Missing value for flag --config"),
    (["--config=god.py"], "There is no config file god.py. Did you mean good.py?"),
    (["--config", "god.py:quick"], "There is no config file god.py. Did you mean good.py?"),
    (["--config=no/such/folder.py"], "There is no config file no/such/folder.py."),
    (["--config=imbd:quick"], "Unknown config 'imbd'. Did you mean 'imdb'? Known: clinc150, cluener,"),
    (["--config", "good"], "Unknown config 'good'."),
    (["--config=configs/imdb.py:quick"], "There is no config file configs/imdb.py."),
    (["--config=configs/imdb.py:quick"], "The one that comes with tfft is imdb:quick."),
    (["--config.train.epochs=2"], "--config.train.epochs=2 overrides a field of a config, but there is no --config before"),
    (["--config.train.epochs=2", "--config=good.py"], "before a value for --config was specified"),
])
def test_mistakes_in_naming_the_config(folder, arguments, message):
    assert message in told(folder, "command.py", *arguments)


@pytest.mark.parametrize("line, message", [
    ("config.train.epoch = 3", "mine.py, line 7: Unknown setting 'epoch'. Did you mean 'epochs'?"),
    ("config.tarin.epochs = 3", "mine.py, line 7: Unknown setting 'tarin'. Did you mean 'train'?"),
    ("config.train.zzz = 3", "mine.py, line 7: Unknown setting 'zzz'."),
    ("config.epochs = 3", "mine.py, line 7: Unknown setting 'epochs'. There is config.train.epochs."),
    ("config.train.epochs = 'three'", "mine.py, line 7: TypeError: Could not override field 'epochs'"),
    ("1 / 0", "mine.py, line 7: ZeroDivisionError: division by zero"),
    ("open('absent.txt')", "mine.py, line 7: OSError: Configuration is not available because of an earlier failure to load: "
                           "[Errno 2] No such file or directory: 'absent.txt'"),
    ("import absent", "mine.py, line 7: ModuleNotFoundError: No module named 'absent'"),
    ("config.train.epochs =", "mine.py, line 7: invalid syntax"),
    ("return 3", "config must be a group of settings, not 3."),
    ("config.train.epochs = -1", "config.train.epochs is -1; it must be at least 0."),
])
def test_mistakes_in_the_config_file(folder, line, message):
    (folder / "mine.py").write_text(CONFIG.format(line=line))
    assert message in told(folder, "command.py", "--config=mine.py")


def test_config_without_its_function(folder):
    (folder / "mine.py").write_text("config = 1\n")
    assert "mine.py defines no get_config(variant)." in told(folder, "command.py", "--config=mine.py")


def test_unknown_variant(folder):
    assert "Unknown variant of configs/imdb.py 'quik'. Did you mean 'quick'? Known: quick" in told(
        folder, "command.py", f"--config={ROOT}/configs/imdb.py:quik")


def test_a_defect_of_ours_keeps_its_traceback(folder):
    (folder / "command.py").write_text(COMMAND.replace("print(", "1 / 0, ("))
    made = run(folder, "command.py", "--config=good.py")
    assert made.returncode == 1 and "ZeroDivisionError" in made.stderr and "Traceback" in made.stderr


# ---- python -m tfft

@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",), ("-h",)])
def test_help_lists_the_commands(folder, arguments):
    made = run(folder, "-m", "tfft", *arguments)
    assert made.returncode == 0 and made.stderr == ""
    assert [line.split()[0] for line in made.stdout.splitlines()[2:]] == [
        "init", "train", "evaluate", "report", "compare", "predict", "chat", "calibrate", "export", "extend", "index",
        "search", "mine", "serve", "explain", "check_data", "plan", "lr_find", "tune", "prepare", "preflight"]


def test_version(folder):
    from tfft import __version__

    assert run(folder, "-m", "tfft", "--version").stdout.strip() == __version__


def test_unknown_command(folder):
    assert told(folder, "-m", "tfft", "trian", "--config=x") == (
        "tfft: error: Unknown command 'trian'. Did you mean 'train'? Known: init, train, evaluate, report, compare, predict, "
        "chat, calibrate, export, extend, index, search, mine, serve, explain, check_data, plan, lr_find, tune, prepare, "
        "preflight.")


@pytest.mark.parametrize("command, flag", [("train", "--workdir"), ("evaluate", "--split"), ("report", "--slice"),
                                           ("predict", "--text"), ("export", "--output"), ("plan", "--config"),
                                           ("init", "--yes"), ("serve", "--workdir"), ("check_data", "--fail_on"),
                                           ("compare", "--slice"), ("tune", "--space"), ("explain", "--method")])
def test_help_of_a_command_lists_its_flags_without_tensorflow(folder, command, flag):
    made = run(folder, "-X", "importtime", "-m", "tfft", command, "--help")
    assert made.returncode == 0 and "tensorflow" not in made.stderr and "absl" in made.stderr
    assert f"\n  {flag}" in made.stdout.replace("[no]", "") and f"tfft.{command}" in made.stdout.splitlines()[0]


@pytest.mark.parametrize("command", [["-m", "tfft", "train"], ["-m", "tfft.train"]])
def test_commands_refuse_in_the_same_words(folder, command):
    assert "--config.train.epoch: Unknown setting 'epoch'. Did you mean 'epochs'?" in told(
        folder, *command, "--config=good.py", "--config.train.epoch=2")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("message, told", [
    ("The disk is full. Name another folder with TFFT_CACHE or --config.data.cache.", "Name another folder with TFFT_CACHE."),
    ("Name another one with --config.data.cache=FOLDER or the environment variable TFFT_CACHE.",
     "Name another one with the environment variable TFFT_CACHE.")])
def test_a_command_without_a_config_does_not_advise_to_set_one(message, told):
    from tfft.errors import UserError
    from tfft.flags import _without_config

    def body():
        raise UserError(message)

    with pytest.raises(UserError) as error:
        _without_config(body)
    assert str(error.value).endswith(told)
