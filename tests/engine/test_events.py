from __future__ import annotations

import errno
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pertinent.engine import events
from pertinent.engine.events import JsonLines, Rate, memory_megabytes, read_events, silent
from pertinent.errors import StorageError


def test_events_come_back_as_they_were_told(tmp_path: Path):
    log = JsonLines(tmp_path / "log.jsonl")
    told = [{"event": "start", "train": 3}, {"event": "step", "parts": {"loss": 0.5}, "note": "grün\nzwei"}]
    for event in told:
        log(event)
    found = read_events(tmp_path / "log.jsonl")
    assert [{key: value for key, value in event.items() if key != "time"} for event in found] == told
    assert found[0]["time"] <= found[1]["time"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_log_is_continued(tmp_path: Path):
    for number in range(2):
        JsonLines(tmp_path / "log.jsonl")({"event": str(number)})
    assert [event["event"] for event in read_events(tmp_path / "log.jsonl")] == ["0", "1"]


def test_what_json_has_no_word_for_becomes_null(tmp_path: Path):
    JsonLines(tmp_path / "log.jsonl")({"event": "epoch", "metrics": {"hap": math.nan, "r@1": 0.5}, "value": math.inf})
    line = (tmp_path / "log.jsonl").read_text()
    event = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (event["metrics"], event["value"]) == ({"hap": None, "r@1": 0.5}, None)


def test_a_half_written_line_is_left_out(tmp_path: Path):
    log = JsonLines(tmp_path / "log.jsonl")
    log({"event": "start"})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "st')
    assert [event["event"] for event in read_events(tmp_path / "log.jsonl")] == ["start"]
    log = JsonLines(tmp_path / "log.jsonl")
    log({"event": "resume"})
    log({"event": "end"})
    assert [event["event"] for event in read_events(tmp_path / "log.jsonl")] == ["start", "resume", "end"]


def test_no_log_has_no_events(tmp_path: Path):
    assert read_events(tmp_path / "none.jsonl") == []


def test_a_log_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StorageError, match=r"none/log\.jsonl failed: No such file"):
        JsonLines(tmp_path / "none" / "log.jsonl")({"event": "start"})

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"log\.jsonl failed: No space left on device; free space"):
        JsonLines(tmp_path / "log.jsonl")({"event": "start"})


def test_rate_counts_from_where_work_went_on(monkeypatch: pytest.MonkeyPatch):
    clock = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    rate = Rate(total=100, done=40)
    assert rate.add(10) == {"rate": 5.0, "eta": 10.0}
    assert rate.add(50) == {"rate": 15.0, "eta": 0.0}


def test_rate_of_no_time_is_finite(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events.time, "monotonic", lambda: 1.0)
    assert all(math.isfinite(value) for value in Rate(10).add(0).values())


def test_memory_and_silence():
    assert 10 < memory_megabytes(torch.device("cpu")) < 1e6
    assert silent({"event": "anything"}) is None


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch):
    assert memory_megabytes(torch.device("cpu")) > 1
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory_megabytes(torch.device("cpu")) == 0
