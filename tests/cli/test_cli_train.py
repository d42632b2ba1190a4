from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from builders import run_recipe, write_recipe
from pertinent.cli import demo
from pertinent.engine.events import read_events
from pertinent.engine.run import Run
from pertinent.errors import StorageError
from pertinent.models.encoder import Encoder


def line_of(said: str, start: str) -> str:
    """The line of an output that starts so."""
    return next(line for line in said.splitlines() if line.startswith(start))


def test_train_says_what_happened_and_what_to_do_next(call: Any, recipe_file: Path, tmp_path: Path):
    said = call("train", recipe_file, "train.epochs=1", "--out", "run").stdout
    assert "24 training pictures, 12 to test, 3 steps an epoch" in said
    assert "epoch 1 done after" in said
    table = line_of(said, "hap ").split()
    means = [json.loads(Run(tmp_path / "run").evaluation(name).read_text())["mean"] for name in ("before", "best")]
    assert table[1:3] == [f"{100 * mean['hap']:.1f}" for mean in means]
    assert "report  run/report.html" in said
    assert "search  pertinent search run PICTURE" in said
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")


def test_the_folder_is_named_after_the_recipe(call: Any, pictures: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    write_recipe(tmp_path / "mine" / "small.yaml", pictures)
    call("train", "mine/small.yaml", "train.epochs=1")
    assert (tmp_path / "runs" / "mine-small" / "report.html").is_file()


def test_a_run_is_not_overwritten(call: Any, recipe_file: Path, finished_run: Run):
    said = call("train", recipe_file, "--out", finished_run.folder, status=1).stderr
    assert said.startswith(f"error: {finished_run.folder} holds a run already; go on with it by --resume")


def test_every_problem_of_the_words_is_told(call: Any, recipe_file: Path, tmp_path: Path):
    words = ["trian.epochs=1", "losses.happ.weight=1", "optim.lr=fast"]
    said = call("train", recipe_file, *words, "--out", "run", status=1).stderr
    assert f"error: {recipe_file}: 3 problems" in said
    for problem in (
        "trian: unknown key; did you mean 'train'?",
        "losses.happ: unknown loss 'happ'; did you mean 'hap'",
        "optim.lr: Input should be a valid number, unable to parse string as a number, got 'fast'",
    ):
        assert problem in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["happier/glifs"], "error: unknown recipe 'happier/glifs'; did you mean 'happier/glyphs'"),
        (["none.yaml"], "none.yaml: 1 problem\n  - cannot be read: No such file or directory"),
        (["happier/glyphs", "epochs"], "'epochs': expected key=value, for example train.epochs=5"),
        (["happier/grocery"], "root must be the folder that holds the data set"),
        (["happier/glyphs", "--resume"], "holds no run to resume; leave --resume out to start one"),
    ],
)
def test_mistakes_end_with_status_one_and_leave_nothing(call: Any, tmp_path: Path, words: list[str], said: str):
    assert said in call("train", *words, status=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_picture_is_named_and_may_be_left_out(call: Any, recipe_file: Path, tmp_path: Path, pictures: Path):
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p" / "train" / "warm" / "red" / "3.png").write_bytes(b"\x89PNG")
    words = ["train", recipe_file, "data.root=p", "train.epochs=2", "--out", "run"]
    said = call(*words, status=1).stderr
    assert f"error: {tmp_path}/p/train/warm/red/3.png: " in said
    assert "data.on_error=skip" in said
    said = call(*words, "data.on_error=skip", "--resume").stdout
    assert f"left out: {tmp_path}/p/train/warm/red/3.png: " in said


def test_a_full_disk(call: Any, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pertinent.engine.checkpoint.write_tensors", full)
    said = call("train", recipe_file, "--out", "run", status=1).stderr
    assert "error: writing run/checkpoints/00001-0000000 failed: No space left on device; free space" in said
    Encoder.load(tmp_path / "run" / "before")


def test_ctrl_c_says_the_words_that_go_on(call: Any, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pertinent.engine.train.train", stopped)
    out = "a [red] folder/" + "very " * 20 + "deep"
    said = call("train", recipe_file, "evaluate.metrics=[hap, r@1]", "--out", out, status=130).stderr
    again = said.strip().removeprefix("interrupted; go on with: ")
    words = ["pertinent", "train", str(recipe_file), "evaluate.metrics=[hap, r@1]", "--out", out, "--resume"]
    assert shlex.split(again) == words


# The program, whose second step waits until the signal was sent: no machine is then too fast or too busy.
WAITING = """
import time
from pathlib import Path

from pertinent.cli.__main__ import main
from pertinent.engine import train

gradients, calls = train.gradients, []


def waiting(*arguments, **options):
    calls.append(None)
    while len(calls) == 2 and not Path("sent").exists():
        time.sleep(0.01)
    return gradients(*arguments, **options)


train.gradients = waiting
main()
"""


def test_ctrl_c_in_a_terminal_and_resume(call: Any, recipe_file: Path, tmp_path: Path):
    """A real process and a real signal; what it was told to do next ends as a run that was never stopped."""
    words = ["train", str(recipe_file), "--out", "run"]
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 300
            while not any(event["event"] == "step" for event in read_events(tmp_path / "run" / "log.jsonl")):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            (tmp_path / "sent").touch()
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "the checkpoint is written" in out
    again = shlex.split(err.strip().removeprefix("interrupted; go on with: "))
    assert again == ["pertinent", *words, "--resume"]
    assert "Traceback" not in err

    # Before or after the second step, as the signal came.
    assert re.search(r"resumed at epoch 1, step [12]\b", call(*again[1:]).stdout)
    whole = run_recipe(recipe_file, tmp_path / "whole")
    for name in ("best", "last"):
        assert Encoder.load(tmp_path / "run" / name).fingerprint() == Encoder.load(whole.encoder(name)).fingerprint()


SMALL = ["data.per_character=4", "data.characters=4", "data.size=32", "preprocess.crop=32", "train.epochs=1"]


def test_demo(call: Any, tmp_path: Path):
    said = call("demo", "--out", "d e", "--seed", "3", *SMALL, "sampler.batch_size=40").stdout
    assert Run(tmp_path / "d e" / "happier").recipe().train.seed == 3
    assert line_of(said, "metric").split()[:5] == ["metric", "before", "flat", "AP", "HAPPIER"]
    flat, happier = Run(tmp_path / "d e" / "flat").recipe(), Run(tmp_path / "d e" / "happier").recipe()
    assert flat.losses["hap"].options == {**happier.losses["hap"].options, "level": 0}
    assert flat.model_copy(update={"losses": happier.losses}) == happier, "equal budget"
    page = (tmp_path / "d e" / "happier" / "report.html").read_text()
    assert "flat AP" in page
    assert "before training" in page
    # The command that it recommends finds the picture that it saved.
    words = shlex.split(line_of(said, "search ").partition("pertinent ")[2])
    assert "1.0000" in call(*words).stdout
    assert "done in" in said


def test_demo_replaces_only_what_is_a_run(tmp_path: Path, finished_run: Run):
    Run(tmp_path / "old").save_recipe(finished_run.recipe())
    demo._remove(tmp_path / "old")
    assert not (tmp_path / "old").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    demo._remove(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"
    with pytest.raises(StorageError, match="not ours to replace"):
        run_recipe(finished_run.recipe_path, tmp_path / "photos")
    assert os.listdir(tmp_path / "photos") == ["a.jpg"]
