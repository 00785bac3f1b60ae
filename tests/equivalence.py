"""Runs tests/replicas.py in all its ways and compares; as a script it prints the table of docs/results/distribution.md.

    python tests/equivalence.py
"""

import json
import runpy
import tempfile
from pathlib import Path

import numpy as np
from forked import Forked

HERE = Path(__file__).parent
LAUNCHER = HERE.parent / "tools" / "launch_local.py"
ONE = "1"  # the column that all others are compared with
# These must give what the plain case gives, so they are compared with that one, on one replica too.
COMPARED_WITH = {"gradient accumulation": "plain", "rematerialisation": "plain"}


def start(out: Path, column: str, **environment: str) -> Forked:
    return Forked([HERE / "replicas.py", out, column], **environment)


def run(folder: Path) -> dict:
    """What tests/replicas.py found in every column, together."""
    workers = [f"localhost:{port}" for port in runpy.run_path(str(LAUNCHER))["free_ports"](2)]
    runs = {column: [start(folder / f"{column}.json", column)] for column in (ONE, "2", "4")}
    runs["2 workers"] = [start(folder / "2 workers.json", "2 workers", TF_CONFIG=json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})) for index in range(2)]
    made: dict = {}
    try:
        for column, processes in runs.items():
            for process in processes:
                process.output()
            for name, values in json.loads((folder / f"{column}.json").read_text()).items():
                made.setdefault(name, {}).update(values)
    finally:
        for process in sum(runs.values(), []):
            process.kill()
    return made


def difference(reference: dict, other: dict) -> dict[str, float]:
    """Largest relative difference of losses, norms and metrics; largest absolute one of weights."""
    def relative(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-12)))

    assert reference["metrics"].keys() == other["metrics"].keys() and len(reference["weights"]) == len(other["weights"])
    weights = zip(reference["weights"].values(), other["weights"].values(), strict=True)
    return {"losses": relative(reference["losses"], other["losses"]), "norms": relative(reference["norms"], other["norms"]),
            "metrics": relative(list(reference["metrics"].values()), list(other["metrics"].values())),
            "weights": max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in weights)}


def differences(made: dict) -> dict[tuple[str, str], dict[str, float]]:
    """{(case, column): difference} to one replica."""
    trained = made["trained"]
    return {(case, column): difference(trained[ONE][COMPARED_WITH.get(case, case)], cases[case])
            for column, cases in trained.items() for case in cases if column != ONE or case in COMPARED_WITH}


def table(found: dict[tuple[str, str], dict[str, float]]) -> str:
    """Markdown: the largest of losses, norms and metrics (relative), and of weights (absolute), in each case."""
    columns = list(dict.fromkeys(column for _, column in found))
    names = {column: f"{column} replica{'s' if column != ONE else ''}" if column.isdigit() else column for column in columns}
    lines = ["| case | " + " | ".join(names.values()) + " |", "| --- |" + " --- |" * len(columns)]
    for case in dict.fromkeys(case for case, _ in found):
        cells = [_cell(found[case, column]) if (case, column) in found else "" for column in columns]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(found: dict[str, float]) -> str:
    return f"{max(found['losses'], found['norms'], found['metrics']):.0e}, {found['weights']:.0e}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(table(differences(run(Path(name)))))
