"""Every figure in a table of the docs is the one that its benchmark wrote, rounded as it is printed."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"(?<![\w=.])(\d[\d,]*(?:\.\d+)?|\.\d+)")
MEASURED = re.compile(FIGURE.pattern + r" (s|MB|GB|MiB)\b")

Rows = dict[str, list[str]]


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def tables(page: str) -> list[tuple[list[str], Rows, str]]:
    """Header, rows by their first cell, and the text up to the next table, of every table of a page."""
    lines = (ROOT / page).read_text().splitlines()
    found: list[tuple[list[str], Rows, str]] = []
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            rows: Rows = {}
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                first, *others = cells(row)
                assert first not in rows, f"{page}: two rows {first!r}"
                rows[first] = others
            after = lines[number + 1 + len(rows) :]
            until = next((place for place, later in enumerate(after) if later.startswith("|---")), len(after))
            found.append((cells(lines[number - 1]), rows, "\n".join(after[:until])))
    return found


def cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")]


def table(page: str, *header: str) -> Rows:
    """Rows of the one table of a page whose header has these words in its cells."""
    found = [
        rows
        for head, rows, _ in tables(page)
        if len(head) >= len(header) and all(word in cell for word, cell in zip(header, head, strict=False))
    ]
    assert len(found) == 1, (page, header)
    return found[0]


def same(written: str, value: float) -> bool:
    """Whether a figure is a value to the digits that it is written with."""
    decimals = len(written.partition(".")[2])
    return abs(float(written.replace(",", "")) - value) <= 0.5 * 10**-decimals * (1 + 1e-6)


def says(cell: str, *values: float) -> None:
    """The figures of a cell are these values."""
    written = FIGURE.findall(cell)
    assert len(written) == len(values), (cell, values)
    assert all(map(same, written, values)), (cell, values)


def measured(cell: str, seconds: float, megabytes: float | None = None) -> None:
    """The figures of a cell that have units are so many seconds and, where it says them, megabytes."""
    values = {"s": seconds, "MB": megabytes, "MiB": megabytes, "GB": megabytes and megabytes / 1000}
    written = MEASURED.findall(cell)
    assert written, cell
    for figure, unit in written:
        value = values[unit]
        assert value is not None, cell
        assert same(figure, value), (cell, value)


def test_rounding():
    assert same("2.7", 2.6538)
    assert same(".011", 0.01102)
    assert same("1,449", 1448.7)
    assert same("10", 10.45)
    assert not same(".013", 0.01102)
    assert not same("285", 280)
    assert FIGURE.findall("6.9, `nprobe=4`, recall 1.000; float32 1,009 MiB, .97") == ["6.9", "1.000", "1,009", ".97"]


# --- methods against each other

NAMES = {
    "ImageNet features": "frozen",
    "flat AP loss": "flat AP",
    "untrained": "frozen",
    "untrained features, by sign": "frozen",
    "HyP² without pairs (`beta=0`)": "proxies only",
    "HyP²": "HyP2",
}


def percent(cell: str, runs: list[dict[str, float]], metric: str, *, spread: bool = True) -> None:
    """A cell is the mean over runs in percent, and the standard deviation where there are several."""
    values = [100 * run[metric] for run in runs]
    says(cell, statistics.mean(values), *([statistics.stdev(values)] if spread and len(values) > 1 else []))


@pytest.mark.parametrize(("page", "count"), [("docs/systems/happier.md", 3), ("docs/systems/hist.md", 2)])
def test_methods(page: str, count: int):
    """The command after a table names its file."""
    seen = 0
    for head, rows, after in tables(page):
        command = re.search(r"benchmarks/methods\.py (\S+)", after)
        if head[0] or command is None:
            continue
        known = results(command[1].replace("/", "-"))["results"]
        for method, row in rows.items():
            for metric, cell in zip(head[1:], row, strict=True):
                percent(cell, known[NAMES.get(method, method)], metric.strip("`"))
        seen += 1
    assert seen == count


def test_groceries_of_the_readme():
    known = results("happier-grocery")["results"]
    metrics = ("hap", "asi", "ap.0", "ap.1", "ap.2")
    for method, row in table("README.md", "", "H-AP", "ASI").items():
        for metric, cell in zip(metrics, row, strict=True):
            percent(cell, known[NAMES.get(method, method)], metric, spread=False)


def test_codes_of_signs():
    for method, row in table("docs/systems/hyp2.md", "", "16 bits", "32 bits", "48 bits").items():
        for bits, cell in zip((16, 32, 48), row, strict=True):
            percent(cell, results(f"hyp2-glyphs-{bits}")["results"][NAMES.get(method, method)], "ap@500/hits")


def test_landmarks_of_signs():
    metrics = ("ap_trapezoid easy", "ap_trapezoid medium", "ap_trapezoid hard", "mp@5 medium")
    known = results("dirtorch-glyphs")["results"]
    for method, row in table("docs/systems/dirtorch.md", "", "AP easy", "AP medium").items():
        for metric, cell in zip(metrics, row, strict=True):
            percent(cell, known[NAMES.get(method, method)], metric)


# --- speed and memory


def test_evaluation():
    rows = {re.match(r"`(\w+)`", case)[1]: row for case, row in table("docs/metrics.md", "case", "Pertinent").items()}  # type: ignore[index]
    tools = {case: results(f"evaluation-{case}")["tools"] for case in rows}
    for case, memory in {"self": "peak_mib", "tree": "peak_mib", "full": "peak_mib", "landmarks": "added_mib"}.items():
        ours = tools[case]["pertinent"]
        measured(rows[case][0], ours["cpu_seconds"], ours[memory])
    for case, tool in {"full": "pml", "landmarks": "published", "tree": "matmul", "hamming": "published"}.items():
        measured(rows[case][1], tools[case][tool]["cpu_seconds"], tools[case][tool]["peak_mib"])
    pml, product = rows["self"][1].split("; ")
    measured(pml, tools["self"]["pml"]["cpu_seconds"], tools["self"]["pml"]["peak_mib"])
    measured(product, tools["self"]["matmul"]["cpu_seconds"])
    ours = tools["hamming"]["pertinent"]
    measured(rows["hamming"][0], ours["cpu_seconds"], ours["added_mib"])
    assert tools["hamming"]["published"]["extrapolated_from"] in rows["hamming"][1]
    for cell, kind in zip(rows["disk"][0].split("; "), ("float32", "float16"), strict=True):
        assert cell.startswith(kind)
        measured(cell, tools["disk"][kind]["cpu_seconds"], tools["disk"][kind]["added_mib"])
    assert set(rows) == {"self", "tree", "full", "landmarks", "hamming", "disk"}


def loss_rows() -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """Formulations by loss and batch: ours under `pertinent`, the other under `other`."""
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in results("losses")["rows"]:
        side = "pertinent" if row["formulation"] == "pertinent" else "other"
        found.setdefault((row["loss"], row["batch"]), {})[side] = row
    return found


def test_cost_of_losses():
    known = loss_rows()
    for name, row in table("docs/losses.md", "name", "labels", "formula").items():
        loss, cost = name.split("`")[1], row[3]
        if cost in ("C D", "that of the wrapped loss"):
            continue
        for batch, cell in zip((256, 4096), cost.split("; "), strict=False):
            ours = known[loss, batch]["pertinent"]
            measured(cell, ours["cpu_seconds"], ours["megabytes"])


def test_losses_against_formulations():
    known = loss_rows()
    for name, (ours, other, faster) in table("docs/losses.md", "loss", "Pertinent", "written from").items():
        size = re.search(r"B = (\d+)|(\d+) images", name)
        assert size is not None, name
        pair = known[name.split("`")[1], int(size[1] or size[2])]
        measured(ours, pair["pertinent"]["cpu_seconds"], pair["pertinent"]["megabytes"])
        if pair["other"]["outcome"] == "ok":
            measured(other, pair["other"]["cpu_seconds"], pair["other"]["megabytes"])
            says(faster, pair["other"]["cpu_seconds"] / pair["pertinent"]["cpu_seconds"])
        else:
            assert pair["other"]["outcome"] == "too large"
            assert (other == "too large" or "would take" in other, faster) == (True, "")


def test_search():
    known, rows = results("search"), table("docs/search.md", "kind", "recall", "one query")
    exact = known["exact_cpu_ms_a_query"]
    _, single, _, batch, *_ = rows.pop("`exact`")
    says(single, exact["single"])
    says(batch, exact["batch"])
    for name, (recall, single, times, batch, times_batch, build, size) in rows.items():
        kind, value = re.match(r"`(\w+)`, `\w+=(\d+)`", name).groups()  # type: ignore[union-attr]
        found = known[kind]
        says(recall, found["tried"][value])
        says(build, found["build_cpu_s"])
        says(size, found["structure_mb"])
        if int(value) in found["effort"].values():
            says(single, found["cpu_ms_a_query"]["single"])
            says(batch, found["cpu_ms_a_query"]["batch"])
            says(times, found["times_exact"]["single"])
            says(times_batch, found["times_exact"]["batch"])
        else:
            assert not single + times + batch + times_batch


def test_codes():
    cases = {"uniform": "uniform", "of a trained network": "trained"}
    for name, (faiss, ties, gain, near, times) in table("docs/codes.md", "codes", "faiss", "`binary`").items():
        case = results("codes")["cases"][cases.get(name) or name.replace("made up, ", "learned-")]
        cost = case["cpu_us_a_query"]
        says(faiss, min(cost["faiss_flat"], cost["faiss_flat_counting"]))
        says(ties, cost["all_ties"])
        says(gain, case["fastest_faiss_flat_over_all_ties"])
        best = case["binary_ivf"]["best"]
        if best is None:
            assert (near, times) == (f"none up to `nprobe={case['binary_ivf']['rows'][-1]['nprobe']}`", "")
            continue
        says(near, best["cpu_us_a_query"], best["recall"])
        assert f"`nprobe={best['nprobe']}`" in near
        says(times, best["times_exact"])


def test_large_batches():
    known: dict[str, list[dict[str, Any]]] = {}
    for row in results("large-batches")["rows"]:
        known.setdefault(row["loss"], []).append(row)
    rows = [cells(line) for line in (ROOT / "docs/large-batches.md").read_text().splitlines() if MEASURED.search(line)]
    rows = [row for row in rows if row[0].strip("`") in known]
    assert len(rows) == sum(map(len, known.values()))
    for loss, batch, chunk, memory, speed in rows:
        small, large = known[loss.strip("`")]
        told = small if chunk == "-" else large
        assert (int(batch), chunk) == (told["batch"], str(told["chunk"] or "-"))
        share = [] if told is small else [told["megabytes"] / small["megabytes"]]
        says(memory, told["megabytes"], *share)
        fast = "pictures_per_cpu_second"
        says(speed, told[fast], *([] if told is small else [100 * told[fast] / small[fast]]))


def test_serving():
    known = results("serving")
    added, many, pictures = known["latency"], known["throughput"], known["pictures"]
    (found,) = (rows for _, rows, _ in tables("docs/serving.md") if "memory of the server meanwhile" in rows)
    rows = {name.split(",")[0]: cell for name, (cell,) in found.items()}
    says(
        rows["what HTTP adds to a search by vector"], *(added[f"{what}_p50_ms"] for what in ("added", "bare", "served"))
    )
    says(rows["the same"], added["added_p99_ms"])
    says(rows["50 clients at once"], many["requests_a_second"], many["requests_a_second_of_one_client"])
    says(rows["memory of the server meanwhile"], *many["memory_mib"])
    share = pictures["pictures_a_second"] / pictures["pictures_a_second_of_the_network"]
    says(rows["pictures uploaded and searched"], pictures["pictures_a_second"], 100 * pictures["share"], 100 * share)


def test_extraction():
    (known,) = results("extraction")
    rows = table("docs/extraction.md", "", "seconds", "CPU seconds")
    assert len(rows) == 3
    for (wall, processor), kind in zip(rows.values(), ("bare", "embed", "single"), strict=True):
        says(wall, known["seconds"][kind]["s"])
        says(processor, known["seconds"][kind]["cpu_s"])
