from __future__ import annotations

import errno
import inspect
import subprocess
import sys
from typing import Any

import pytest

from pertinent.cli import making
from pertinent.cli.__main__ import fail, guarded
from pertinent.errors import ConfigError, StorageError


def raising(error: BaseException) -> Any:
    def command() -> None:
        raise error

    return guarded(command)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StorageError("no [store] here"), 1, "error: no [store] here\n"),
        (ConfigError(["a: is required"]), 1, "error: recipe: 1 problem\n  - a: is required\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; what was written is intact, run the same command again\n"),
        (OSError(errno.ENOSPC, "No space left", "/d/x"), 1, "error: the disk is full (/d/x); free space and run"),
        (OSError(errno.ENOSPC, "No space left"), 1, "error: the disk is full (while writing); free space"),
    ],
)
def test_errors_end_the_program_with_a_message_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as end:
        raising(error)()
    assert end.value.code == status
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ZeroDivisionError()])
def test_mistakes_of_ours_keep_their_trace(error: BaseException):
    with pytest.raises(type(error)):
        raising(error)()


def test_a_guarded_command_keeps_its_words():
    assert inspect.signature(guarded(making.train)) == inspect.signature(making.train)
    assert guarded(making.train).__doc__ == making.train.__doc__


def test_fail(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        fail("a long message " * 20, status=3)
    assert end.value.code == 3
    assert capsys.readouterr() == ("", f"error: {'a long message ' * 20}\n")


COMMANDS = [
    *("demo", "train", "sweep", "evaluate", "embed", "codes", "index", "search", "serve", "dedup", "report", "figures"),
    *("average", "check", "convert", "datasets", "list"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call: Any, command: str):
    said = call(command, "--help").stdout
    assert f"pertinent {command}" in said or f"{command} [OPTIONS]" in said
    assert command in call("--help").stdout


@pytest.mark.parametrize("words", [["bogus"], ["embed"], ["train"], ["search", "run"], ["train", "x", "--bogus"]])
def test_wrong_words_end_with_status_two(call: Any, words: list[str]):
    assert "Error" in call(*words, status=2).stderr


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["bogus"], 2), (["index", "/nowhere"], 1)])
def test_status_of_the_real_program(words: list[str], status: int):
    done = subprocess.run([sys.executable, "-m", "pertinent.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
