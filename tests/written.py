"""Of runs that write texts and have learnt all there is: what their evaluations say."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfft.run.judge import judge


def judged_right(run: Path, rows: int) -> dict:
    """The report of an evaluation; training's last one and it find every answer right. rows: that are answered."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "validation"]
    assert judged[-1]["perplexity"] < 1.2 and judged[-1]["accuracy"] > 0.95
    assert judged[-1]["perplexity"] == pytest.approx(np.exp(judged[-1]["loss"]), rel=1e-6)
    assert judged[-1]["exact_match"] == judged[-1]["rougeL"] == 1.0
    assert judge(str(run), data="", split="validation", weights="", output="") == 0
    report = json.loads((run / "evaluation-validation.json").read_text())
    assert len(report["answers"]) == rows and report["answers"][0]["answer"] == report["answers"][0]["response"]
    return report
