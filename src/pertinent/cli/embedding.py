"""`pertinent embed`: pictures into a store of embeddings, and into the files of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import DataError, InputError, StorageError

if TYPE_CHECKING:
    from pertinent.data.table import ImageTable
    from pertinent.models.encoder import Encoder
    from pertinent.models.views import Views
    from pertinent.store import EmbeddingStore

Items = Annotated[
    str | None, typer.Option(help="Where the pictures search: DATASET:SPLIT, or a folder; default among themselves.")
]
Transforms = Annotated[
    list[str] | None,
    typer.Option(
        "--transform",
        "--trfs",
        help="Frame pictures so instead, such as 'Scale(800)'; several make as many views, which are merged.",
    ),
]
Scales = Annotated[str | None, typer.Option(help="Resize each view by these factors, such as 1,0.7071,0.5.")]
Merge = Annotated[
    str | None,
    typer.Option(
        "--merge",
        "--pooling",
        help="How views are merged: gem, mean, or power (gem without a floor); default: as the encoder says, else gem.",
    ),
]
Power = Annotated[
    float | None,
    typer.Option("--merge-p", "--gemp", help="Power of gem and power; default: as the encoder says, else 3."),
]
Precision = Annotated[str, typer.Option(help="Of the network: float32, bf16, or auto: bf16 where it is fast.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda:1, ...")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Pictures at once; default 64, or 16 where their sizes differ.")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that decode; default 4 beside a GPU, else 0.")]


def embed(
    model: Annotated[Path, typer.Argument(help="A run folder or an encoder folder such as RUN/best.")],
    source: Annotated[str, typer.Argument(help="A folder of pictures, or DATASET:SPLIT with --root.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the store to write.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the data set as key=value; may be repeated.")
    ] = None,
    items: Items = None,
    transform: Transforms = None,
    scales: Scales = None,
    merge: Merge = None,
    merge_p: Power = None,
    precision: Precision = "float32",
    device: Device = "auto",
    batch_size: BatchSize = None,
    workers: Workers = None,
    on_error: Annotated[str, typer.Option(help="raise, or skip damaged pictures and list them.")] = "raise",
    npy: Annotated[Path | None, typer.Option(help="Also write NAME.npy, and the ids beside it.")] = None,
    kapture: Annotated[
        str | None, typer.Option(help="Also write global features of this name into the kapture at --root.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Also write the signs as packed codes, codes.npy.")] = False,
) -> None:
    """Embed a folder of pictures, or a split of a data set, into a store; goes on where it was interrupted.

    Pictures keep their sizes where the encoder says so: those of equal size are embedded together. Several processes
    share the work under torchrun or accelerate launch.
    """
    from pertinent.cli import screen
    from pertinent.cli.codes import about_codes
    from pertinent.codes import write_codes
    from pertinent.engine.export import write_kapture, write_npy
    from pertinent.engine.search import open_encoder

    # What cannot be written is better said before the work.
    if npy is not None and npy.suffix != ".npy":
        raise InputError(f"--npy needs a file NAME.npy, got {npy}")
    if kapture is not None and (root is None or not source.startswith("kapture:")):
        raise InputError("--kapture writes into the kapture that is embedded; give kapture:all and --root")
    table = open_source(source, root, options or (), items)
    views = views_of(transform, scales, merge, merge_p)
    store = embed_source(
        open_encoder(model),
        table,
        out,
        views=views,
        precision=precision,
        device=device,
        batch_size=batch_size,
        workers=workers,
        on_error=on_error,
    )
    if store is None:
        return
    for text in store.manifest["damaged"]:
        screen.out.print(f"left out: {text}", soft_wrap=True)
    if "cropped" in store.manifest:
        screen.out.print(f"{store.manifest['cropped']:,} pictures were cut to their boxes", soft_wrap=True)
    screen.out.print(f"{len(store):,} embeddings of {store.dim} numbers in {out}", soft_wrap=True)
    if codes:
        write_codes(store)
        screen.out.print(about_codes(store), soft_wrap=True)
    for path in write_npy(store, npy) if npy is not None else ():
        screen.out.print(f"vectors in {path}", soft_wrap=True)
    if kapture is not None and root is not None:
        screen.out.print(f"global features in {write_kapture(store, root, kapture)}", soft_wrap=True)


def views_of(
    transforms: Sequence[str] | None, scales: str | None, merge: str | None, merge_p: float | None
) -> Views | None:
    """The views that the options describe; None without any of them."""
    from pertinent.config import parse
    from pertinent.models.views import Views

    values: dict[str, Any] = {"transforms": transforms or None, "scales": scales, "merge": merge, "p": merge_p}
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        return None
    if scales is not None:
        given["scales"] = [factor.strip() for factor in scales.split(",")]
    return parse(Views, given, "--transform, --scales, --merge, --merge-p")


def _looking(encoder: Encoder, given: Views | None) -> Views:
    """The encoder's views, with what `given` states in place."""
    stated = {} if given is None else {name: getattr(given, name) for name in given.model_fields_set}
    views = encoder.views.model_copy(update=stated)
    merging = [option for option, name in {"--merge": "merge", "--merge-p": "p"}.items() if name in stated]
    if merging and len(views.transforms) < 2 and len(views.scales) < 2:
        raise InputError(f"{', '.join(merging)}: there is one view and nothing to merge; leave it out")
    if "p" in stated and views.merge == "mean":
        raise InputError("--merge-p is about --merge gem or power, and views are merged by their mean; leave it out")
    return views


def embed_source(
    encoder: Encoder,
    table: ImageTable,
    out: Path,
    *,
    views: Views | None = None,
    precision: str = "float32",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    on_error: str = "raise",
) -> EmbeddingStore | None:
    """Embed a table with progress on the screen; the store in the first process, None in the others.

    The encoder looks at pictures as `views` states, and keeps doing so; what they leave open is left as it was.
    """
    import torch

    from pertinent.cli import screen
    from pertinent.engine.building import choose_device, choose_precision
    from pertinent.engine.distributed import World
    from pertinent.engine.embed import embed_table
    from pertinent.engine.events import silent

    if on_error not in ("raise", "skip"):
        raise InputError(f"--on-error must be raise or skip, got {on_error!r}")
    if precision not in ("float32", "bf16", "auto"):
        raise InputError(f"--precision must be float32, bf16 or auto, got {precision!r}")
    world = World.join(cpu=device == "cpu")
    place = choose_device(device, world)
    # Convolutions are faster so, in bf16 above all.
    encoder = encoder.to(place).to(memory_format=torch.channels_last)
    encoder.views = _looking(encoder, views)
    fixed = all(framing.size for framing in encoder.views.framings(encoder.preprocess))
    with screen.Screen() as listener:
        store = embed_table(
            encoder,
            table,
            out,
            batch_size=batch_size or (64 if fixed else 16),
            workers=(4 if place.type == "cuda" else 0) if workers is None else workers,
            skip_damaged=on_error == "skip",
            precision=choose_precision(precision, place),
            listener=listener if world.leads else silent,
            world=world,
        )
    return store if world.leads else None


def open_source(source: str, root: Path | None, options: Sequence[str] = (), items: str | None = None) -> ImageTable:
    """The pictures of a folder, or of DATASET:SPLIT with the data set's options as `key=value` words.

    With `items`, another source, they are queries that search in those.
    """
    from pertinent.data.concatenation import queries_and_items

    if items is not None:
        return queries_and_items(open_source(source, root, options), open_source(items, root, options))
    return _open_one(source, root, options)


def _open_one(source: str, root: Path | None, options: Sequence[str]) -> ImageTable:
    from pertinent.config import apply_words
    from pertinent.data.datasets import DATASETS

    if Path(source).is_dir():
        for option, value in {"--root": root, "--option": options}.items():
            if value:
                raise InputError(f"{source} is a folder by itself; leave out {option}, or give DATASET:SPLIT with it")
        return _open_folder(Path(source))
    name, colon, split = source.partition(":")
    if not colon:
        raise StorageError(f"{source} is no folder; give a folder of pictures, or DATASET:SPLIT such as grocery:val")
    table: ImageTable = DATASETS.build(name, root=root, **apply_words({}, options)).split(split)
    return table


def _open_folder(root: Path) -> ImageTable:
    """The pictures under a folder, with labels where its layout gives them."""
    from pertinent.cli import screen
    from pertinent.data.datasets.folder import Folder

    try:
        return Folder(root).split("all")
    except DataError as error:
        table = Folder.unlabelled(root)
        screen.err.print(f"note: embedding without labels, for they are not clear: {error}", soft_wrap=True)
        return table
