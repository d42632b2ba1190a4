"""`pertinent`: the program. Commands import what they need when they run, so that help is instant."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from pertinent.cli import (
    averaging,
    codes,
    converting,
    datasets,
    deduplicating,
    embedding,
    evaluating,
    figures,
    indexing,
    making,
    searching,
    serving,
    sweeping,
    using,
)
from pertinent.errors import PertinentError

app = typer.Typer(
    name="pertinent",
    help="Train, evaluate, embed, index and search image retrieval. Start with: pertinent demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command exit status 1 for an error of its work and 130 for Ctrl-C, each with a message; 2 is for words."""

    @functools.wraps(command)
    def run(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except PertinentError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted; what was written is intact, run the same command again", status=130)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            fail(f"the disk is full ({error.filename or 'while writing'}); free space and run the same command again")

    return run


for member in (
    making.demo,
    making.train,
    sweeping.sweep,
    evaluating.evaluate,
    averaging.average,
    embedding.embed,
    codes.codes,
    indexing.index,
    searching.search,
    deduplicating.dedup,
    serving.serve,
    using.report,
    figures.figures,
    making.check,
    converting.convert,
):
    app.command()(guarded(member))
app.command("list")(guarded(making.list_))
app.add_typer(datasets.group(guarded), name="datasets")


def main() -> None:
    """Run the program."""
    app()


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what went wrong on standard error and end the program."""
    from pertinent.cli.screen import err

    err.print(f"error: {message}", style="red", soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
