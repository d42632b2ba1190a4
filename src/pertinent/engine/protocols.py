"""Protocols: the settings with which papers measured, by name.

Letters: Q queries, G gallery items, L levels, C tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pertinent.engine.evaluate import Report, evaluate_all
from pertinent.engine.ranker import Progress
from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.labels import Labels
from pertinent.relevance import Kind, Relevance


@dataclass(frozen=True)
class Protocol:
    """How a line of papers measures.

    Attributes:
        summary: one sentence for a list.
        kind: what labels it needs; "classes" takes the finest column of a tree.
        metrics: names, in the order of the papers' tables.
        similarity: by what the gallery is ranked.
        ties: rule for equal scores; None for the similarity's own.
        count_self: whether a query counts in the population of its own level.
        judgements: protocols of judged labels, one report each.
    """

    summary: str
    kind: Kind
    metrics: tuple[str, ...]
    similarity: str = "cosine"
    ties: str | None = None
    count_self: bool = False
    judgements: tuple[str, ...] = ()

    def relevances(
        self, labels: Any, gallery_labels: Any = None, query_positions: Labels | None = None
    ) -> dict[str, Relevance]:
        """What is relevant to what, one for each report; the only one is called "".

        Args:
            labels: `(Q,)`, `(Q, L)` or `(Q, C)` by kind; for judged labels the ground truth.
            gallery_labels: of the items; when left out the queries are the items.
            query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold.
        """
        if self.kind == "judged":
            made = {word: Relevance.judged(labels, word, query_positions=query_positions) for word in self.judgements}
            return made if len(made) > 1 else {"": next(iter(made.values()))}
        if self.kind == "tags":
            return {"": Relevance.tags(labels, gallery_labels, query_positions=query_positions)}
        if self.kind == "tree":
            return {
                "": Relevance.tree(labels, gallery_labels, count_self=self.count_self, query_positions=query_positions)
            }
        fine, gallery_fine = _finest(labels), None if gallery_labels is None else _finest(gallery_labels)
        return {"": Relevance.classes(fine, gallery_fine, query_positions=query_positions)}


def _hyp2(data: str, cut: int) -> Protocol:
    return Protocol(
        f"HyP2 and most hashing papers on {data}: Hamming ranking of signs, mAP of the first {cut:,}",
        kind="tags",
        metrics=(f"ap@{cut}/hits", *(f"topn@{n}" for n in (100, 500, 1000))),
        similarity="hamming",
    )


def _happier(data: str, *recalls: str) -> Protocol:
    return Protocol(
        f"HAPPIER on {data}: all images against all, hierarchical and per-level metrics",
        kind="tree",
        metrics=("hap", "asi", "ndcg", "ap", "ap@r", *recalls),
        count_self=True,
    )


PROTOCOLS: dict[str, Protocol] = {
    "happier": _happier("any other tree", "r@1", "r@2", "r@4", "r@10"),
    "happier/sop": _happier("Stanford Online Products", "r@1", "r@10", "r@100", "r@1000"),
    "happier/inat": _happier("iNaturalist", "r@1", "r@4", "r@16", "r@32"),
    "happier/dyml": Protocol(
        "HAPPIER and Dynamic Metric Learning on one test set of DyML-Vehicle or -Animal; `average` makes one of three",
        kind="tree",
        metrics=("asi", "asi.0", "ap", "ap@r", "r@1", "r@10", "r@20"),
        count_self=True,
    ),
    "happier/dyml-product": Protocol(
        "HAPPIER and Dynamic Metric Learning on DyML-Product, three levels in one set; `average` makes one of three",
        kind="tree",
        metrics=("asi", "asi.0", "asi.1", "asi.2", "ap", "ap@r", "r@1", "r@10", "r@20"),
        count_self=True,
    ),
    "hyp2/flickr25k": _hyp2("Flickr-25k", 1000),
    "hyp2/nuswide": _hyp2("NUS-WIDE", 5000),
    "hyp2/voc2007": _hyp2("VOC2007", 5011),
    "hyp2/voc2012": _hyp2("VOC2012", 5717),
    "revisited": Protocol(
        "Revisited Oxford and Paris: easy, medium and hard, junk left out, trapezoid AP",
        kind="judged",
        metrics=("ap_trapezoid", "mp@1", "mp@5", "mp@10"),
        judgements=("easy", "medium", "hard"),
    ),
    "classic": Protocol(
        "Oxford5k and Paris6k: junk left out, trapezoid AP",
        kind="judged",
        metrics=("ap_trapezoid", "mp@1", "mp@5", "mp@10"),
        judgements=("classic",),
    ),
    "hist": Protocol(
        "HIST on CUB and Cars: recall at 1 to 32 among all test images, and clustering",
        kind="classes",
        metrics=("r@1", "r@2", "r@4", "r@8", "r@16", "r@32", "rp", "ap@r", "nmi/geometric"),
    ),
    "hist/sop": Protocol(
        "HIST on Stanford Online Products: recall at 1 to 1000 among all test images",
        kind="classes",
        metrics=("r@1", "r@10", "r@100", "r@1000", "rp", "ap@r"),
    ),
    "hist/inshop": Protocol(
        "HIST on In-Shop: recall at 1 to 30 of queries against a gallery",
        kind="classes",
        metrics=("r@1", "r@10", "r@20", "r@30", "rp", "ap@r"),
    ),
    "pml": Protocol(
        "pytorch-metric-learning's AccuracyCalculator over the whole ranking, by Euclidean distance",
        kind="classes",
        metrics=("p@1", "rp", "ap@r", "ap", "mrr", "nmi", "ami"),
        similarity="euclidean",
    ),
    "gldv2": Protocol(
        "Google Landmarks v2 retrieval: mAP of the first 100, divided by min(R, 100)",
        kind="classes",
        metrics=("ap@100",),
    ),
}
"""Protocols by name; a word after the slash is a data set with settings of its own."""


def evaluate_protocol(
    name: str,
    queries: Any,
    gallery: Any = None,
    *,
    labels: Any,
    gallery_labels: Any = None,
    query_positions: Labels | None = None,
    ties: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Report]:
    """Measure as a paper did.

    Args:
        name: one of `PROTOCOLS`.
        queries: `(Q, D)` array, memory map or tensor.
        gallery: `(G, D)`; when left out the queries are the gallery.
        labels: `(Q,)` classes, `(Q, L)` tree, `(Q, C)` tags, or for "revisited" and "classic" the ground truth.
        gallery_labels: the same of the gallery; not for ground truths.
        query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold.
        ties: another rule for equal scores than the protocol's; "index" reproduces a stable sort.
        progress: called with the number of queries done and Q.

    Returns:
        The reports by name: "easy", "medium" and "hard" for "revisited", else one called "".

    Raises:
        UnknownNameError: no such protocol.
        InputError: labels or vectors that do not fit.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    if protocol.kind == "judged" and gallery_labels is not None:
        raise InputError(f"protocol {name}: a ground truth names gallery items itself; leave gallery_labels out")
    if protocol.kind == "judged" and gallery is None:
        raise InputError(f"protocol {name} ranks a gallery for queries; pass both")
    if protocol.kind != "judged" and (gallery is None) != (gallery_labels is None):
        raise InputError(f"protocol {name}: pass the gallery and its labels, or neither")
    made = protocol.relevances(labels, gallery_labels, query_positions)
    return evaluate_all(
        queries,
        gallery,
        relevances=made,
        metrics=protocol.metrics,
        similarity=protocol.similarity,
        ties=ties or protocol.ties,
        progress=progress,
    )


def overall(reports: Mapping[str, Report] | Sequence[Report] | Report) -> dict[str, float]:
    """DyML's overall numbers: unweighted means, as HAPPIER's code takes them.

    Args:
        reports: of the fine, middle and coarse test sets (Vehicle, Animal), each metric averaged over the sets; or one
            report of a tree (Product), each metric averaged over the levels. There ASI over the whole tree, where it
            was asked for, counts as one more level: so does the official code.

    Raises:
        InputError: no report, reports of different metrics, or one report without levels.
    """
    if isinstance(reports, Report):
        parts: dict[str, list[float]] = {}
        for name, value in reports.mean.items():
            word, dot, level = name.rpartition(".")
            if dot and level.isdigit():
                parts.setdefault(word, []).append(value)
        if max(map(len, parts.values()), default=0) < 2:
            raise InputError(
                "one report is averaged over its levels, ap.0, ap.1 and so on, and this one has "
                f"{', '.join(reports.mean)}; give one report a test set"
            )
        for word in parts.keys() & reports.mean.keys():
            parts[word].append(reports.mean[word])
        return {word: float(np.mean(values)) for word, values in parts.items()}
    several = list(reports.values() if isinstance(reports, Mapping) else reports)
    if not several or any(report.mean.keys() != several[0].mean.keys() for report in several):
        found = "; ".join(", ".join(report.mean) for report in several) or "none"
        raise InputError(f"overall needs reports of the same metrics, one a test set; got {found}")
    return {name: float(np.mean([report.mean[name] for report in several])) for name in several[0].mean}


def _finest(labels: Any) -> Any:
    array = np.asarray(labels)
    return array[:, 0] if array.ndim == 2 else labels
