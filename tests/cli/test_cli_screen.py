from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from pertinent.cli import screen
from pertinent.cli.screen import Screen, duration, metric_table, percent

START = {"event": "start", "train": 1200, "test": 30, "steps": 4, "parameters": 2_500_000, "device": "cpu"}
START |= {"losses": {"hyp2": "threshold=0.1 (chosen)"}, "notes": ["the split is ours"]}
STEP: dict[str, Any] = {
    "event": "step",
    "epoch": 2,
    "epochs": 3,
    "step": 1,
    "steps": 4,
    "parts": {"loss": 0.51234, "hap": 0.4},
    "lr": {"backbone": 1e-4},
    "rate": 99.6,
    "eta": 75.0,
    "memory": 321,
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What goes to the screen, where it is no terminal."""
    text = io.StringIO()
    monkeypatch.setattr(screen, "out", Console(file=text, width=200, markup=False, highlight=False))
    return text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_duration(seconds: float, words: str):
    assert duration(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(0.12345, "12.3"), (1.0, "100.0"), (None, "-"), (math.nan, "-")])
def test_percent(value: float | None, words: str):
    assert percent(value) == words


def test_metric_table(shown: io.StringIO):
    columns: dict[str, dict[str, float | None]] = {"before": {"hap": 0.5, "ap": None}, "after": {"hap": 0.75}}
    screen.out.print(metric_table(columns, conventions={"hap": "graded"}))
    rows = [line.split() for line in shown.getvalue().splitlines()]
    assert rows == [
        ["metric", "before", "after", "what", "it", "is"],
        ["hap", "50.0", "75.0", "graded"],
        ["ap", "-", "-"],
    ]
    screen.out.print(metric_table(columns, names=["ap"]))
    assert shown.getvalue().splitlines()[-1].split() == ["ap", "-", "-"]


def test_every_kind_of_event_in_a_log(shown: io.StringIO):
    with Screen("flat") as listener:
        for event in (
            START,
            STEP,
            {"event": "embed", "done": 10, "total": 1000, "rate": 5.0, "eta": 200.0},
            {"event": "epoch", "epoch": 2, "seconds": 61.0, "metrics": {"hap": 0.5, "ap": None}},
            {"event": "epoch", "epoch": 3, "seconds": 61.0},
            {"event": "resume", "epoch": 1, "step": 3},
            {"event": "interrupted", "epoch": 1, "step": 3},
            {"event": "evaluation", "name": "best"},
            {"event": "end", "seconds": 1.0, "damaged": ["[a].png: truncated"]},
        ):
            listener(event)
    assert shown.getvalue().splitlines() == [
        "flat: 1,200 training pictures, 30 to test, 4 steps an epoch, 2.5 M parameters, cpu",
        "flat: hyp2: threshold=0.1 (chosen)",
        "flat: note: the split is ours",
        "flat: epoch 2/3: step 1/4  loss 0.5123 hap 0.4000  lr backbone 0.0001  100 pictures/s  321 MB  "
        "left 1 min 15 s",
        "flat: epoch 2 done after 1 min 01 s: hap 50.0",
        "flat: epoch 3 done after 1 min 01 s",
        "flat: resumed at epoch 2, step 3",
        "flat: stopped in epoch 2 after step 3; the checkpoint is written",
        "flat: left out: [a].png: truncated",
    ]


def test_a_log_is_not_flooded(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    clock = iter([100.0, 100.0, 101.0, 116.0, 116.0])
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(clock))
    listener = Screen()
    for step in (1, 2, 3):
        listener({**STEP, "step": step})
    assert [line.split()[3] for line in shown.getvalue().splitlines()] == ["1/4", "3/4"]


def test_a_terminal_has_one_line_that_lives(monkeypatch: pytest.MonkeyPatch):
    text = io.StringIO()
    monkeypatch.setattr(screen, "out", Console(file=text, width=160, force_terminal=True, markup=False))
    with Screen() as listener:
        listener(START)
        listener(STEP)
        task = listener.bar.tasks[0]
        assert (task.completed, task.total) == (5, 12)
        listener({"event": "embed", "done": 10, "total": 1000, "rate": 5.0, "eta": 200.0})
        assert len(listener.bar.tasks) == 1
        assert (task.completed, task.total) == (10, 1000)
    assert "embedding" in text.getvalue()
    assert "loss 0.5123" not in text.getvalue().splitlines()[0]
