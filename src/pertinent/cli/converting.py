"""`pertinent convert`: a checkpoint that its authors published becomes an encoder folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    official: Annotated[Path, typer.Argument(help="The file as published, also inside its ZIP.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the encoder to write.")],
    origin: Annotated[
        str | None, typer.Option(help="cirtorch, dirtorch, happier, hist or hyp2; found by what the file holds.")
    ] = None,
    whiten: Annotated[
        str | None, typer.Option(help="Which stored whitening goes inside; none leaves it out. Default: the first.")
    ] = None,
    whitenp: Annotated[
        float | None, typer.Option(min=0, help="Power of the variances in a PCA whitening; default .25.")
    ] = None,
    whitenv: Annotated[int | None, typer.Option(min=1, help="How many directions are kept; default all.")] = None,
) -> None:
    """Turn an official checkpoint (HAPPIER, HyP2, Deep Image Retrieval, cirtorch, HIST) into an encoder.

    Nothing in the file is executed. The folder is used like RUN/best: pertinent embed FOLDER PICTURES -o STORE.
    """
    from pertinent.cli import screen
    from pertinent.models.official import NO_WHITENING
    from pertinent.models.official import convert as convert_file

    done = convert_file(official, origin, whiten, whitenp, whitenv)
    done.encoder.save(out)
    config = done.encoder.config
    screen.out.print(f"{done.origin}: {config.backbone}, {config.pool} pooling, {done.encoder.dim} numbers a picture")
    inside = "no whitening" if done.whitening == NO_WHITENING else f"whitening {done.whitening} inside"
    others = f"; the file also holds {', '.join(done.others)}" if done.others else ""
    screen.out.print(inside + others, soft_wrap=True)
    for note in done.notes:
        screen.out.print(f"note: {note}", soft_wrap=True)
    screen.out.print(f"encoder {out}", soft_wrap=True)
