"""Embedding a folder of photographs of several sizes, against the bare network and against one picture at a time.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --backbone mobilenetv2_100 --weights FILE.pth --pictures 192

`bare` runs the network on ready pixels in the batches that `embed` makes, `single` decodes and embeds one picture after
the other in float32, as the official code does, and `embed` is the whole of `pertinent embed` from files to a store.
Each figure comes from a process of its own. The photographs are made up (smooth noise with JPEG's usual size).
Results go to benchmarks/results/extraction.json; rerunning replaces the rows it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from pertinent.data.datasets.folder import Folder
from pertinent.data.images import decode
from pertinent.data.transforms import Preprocess
from pertinent.engine.building import choose_precision
from pertinent.engine.embed import embed_table
from pertinent.engine.extract import Extraction
from pertinent.models.encoder import Encoder, EncoderConfig, evaluation_mode

RESULTS = Path(__file__).parent / "results" / "extraction.json"
CASES = ("bare", "embed", "single")


def make_photographs(folder: Path, count: int, side: int) -> None:
    """JPEG files whose longer side is `side`, in the usual shapes, portrait and landscape."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    shapes = [(4, 3), (3, 4), (3, 2), (2, 3)]
    for number in range(count):
        wide, high = shapes[rng.integers(len(shapes))]
        size = (round(side * wide / max(wide, high)), round(side * high / max(wide, high)))
        coarse = rng.integers(0, 255, (size[1] // 24, size[0] // 24, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 12, (size[1], size[0], 3))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=88)


def make_encoder(options: argparse.Namespace) -> Encoder:
    """An untrained network whose BatchNorm does something, or one with weights."""
    torch.manual_seed(0)
    parts = EncoderConfig(backbone=options.backbone, pool="gem", dim=options.dim)
    encoder = Encoder(parts, Preprocess(resize=None, crop=None), options.weights or False)
    for part in encoder.modules() if options.weights is None else ():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.3, 0.6)
    return encoder.eval()


@torch.no_grad()
def run(case: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one case, in this process."""
    torch.set_num_threads(options.threads)
    encoder, table = make_encoder(options), Folder.unlabelled(folder)
    # The official code knows no other than float32.
    precision = torch.float32 if case == "single" else choose_precision(options.precision, encoder.device)
    if case == "single":
        transform, vectors = encoder.preprocess.build(), []
        encoder(transform(table.read(0))[None])
        start = time.process_time(), time.perf_counter()
        for row in range(len(table)):
            vectors.append(encoder(transform(decode(Path(table.source.where(row))))[None])[0])
        spent = time.process_time() - start[0], time.perf_counter() - start[1]
        np.save(folder.parent / "single.npy", torch.stack(vectors).numpy())
    else:
        encoder = encoder.to(memory_format=torch.channels_last)
        extraction = Extraction(encoder, options.batch_size, precision=precision)
        ready = [batch for window in extraction.windows(table, range(len(table))) for batch in window._batches()]
        with evaluation_mode(encoder):
            extraction.vectors(ready[0][1])
            ready = ready if case == "bare" else []
            start = time.process_time(), time.perf_counter()
            for _, views in ready:
                extraction.vectors(views)
            if case == "embed":
                embed_table(encoder, table, folder.parent / "store", batch_size=options.batch_size, precision=precision)
        spent = time.process_time() - start[0], time.perf_counter() - start[1]
    return {"cpu_s": round(spent[0], 2), "s": round(spent[1], 2), "precision": str(precision).removeprefix("torch.")}


def main() -> None:
    """Measure the cases one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", type=Path, help="a timm weights file; default untrained")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--side", type=int, default=480, help="longer side of the photographs")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(options.case, options.folder, options)))
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "photographs"
        make_photographs(folder, options.pictures, options.side)
        found: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
        for _ in range(options.repeat):
            for case in CASES:
                command = [sys.executable, *sys.argv, "--case", case, "--folder", str(folder)]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found[case].append(json.loads(said.splitlines()[-1]))
                print(case, found[case][-1], flush=True)
        single, stored = np.load(Path(root) / "single.npy"), np.load(Path(root) / "store" / "vectors.npy")
    middle = {case: sorted(rows, key=lambda row: row["s"])[len(rows) // 2] for case, rows in found.items()}
    row = {
        "backbone": options.backbone,
        "weights": options.weights and options.weights.name,
        "pictures": options.pictures,
        "side": options.side,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "precision": middle["embed"]["precision"],
        "seconds": middle,
        "throughput_of_bare": round(middle["bare"]["s"] / middle["embed"]["s"], 3),
        "cpu_of_single": round(middle["single"]["cpu_s"] / middle["embed"]["cpu_s"], 2),
        "least_cosine": round(float((single * stored).sum(1).min()), 6),
        "load_at_start": os.getloadavg()[0],
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(row, indent=1))
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    keys = ("backbone", "side", "batch_size", "threads", "precision")
    rest = [other for other in known if any(other[key] != row[key] for key in keys)]
    RESULTS.write_text(json.dumps([*rest, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
