"""Slow and literal: whitening, expansion and re-ranking from their definitions, one vector and one set at a time."""

from __future__ import annotations

import math

import numpy as np


def unit(x):
    length = math.sqrt(sum(float(value) ** 2 for value in x))
    return np.array([float(value) / length if length else 0.0 for value in x])


def cosine(x, y):
    return float(np.dot(unit(x), unit(y)))


def nearest(query, items, k, own=-1):
    """Positions of the k items of the largest cosine, the smaller position first among equals."""
    there = [place for place in range(len(items)) if place != own]
    return sorted(there, key=lambda place: (-round(cosine(query, items[place]), 12), place))[:k]


def expand(query, items, places, alpha):
    """The query and the named items, each times its cosine to the power alpha with its sign."""
    if not places:
        return np.asarray(query, np.float64)
    total = unit(query)
    for place in places:
        similarity = cosine(query, items[place])
        weight = 1.0 if alpha == 0 else math.copysign(abs(similarity) ** alpha, similarity)
        total = total + weight * unit(items[place])
    return unit(total)


def moments(vectors):
    mean = sum(np.asarray(x, np.float64) for x in vectors) / len(vectors)
    return mean, sum(np.outer(x - mean, x - mean) for x in np.asarray(vectors, np.float64))


def lw(vectors, pairs, ridge=0.0):
    """Mean and projection; rows have an arbitrary sign."""
    vectors = np.asarray(vectors, np.float64)
    mean = sum(vectors[query] for query, _ in pairs) / len(pairs)
    differences = sum(np.outer(vectors[a] - vectors[b], vectors[a] - vectors[b]) for a, b in pairs) / len(pairs)
    inverse = np.linalg.inv(np.linalg.cholesky(differences + ridge * np.eye(len(mean))))
    white = [inverse @ (x - mean) for x in vectors]
    values, columns = np.linalg.eig(sum(np.outer(x, x) for x in white))
    order = np.argsort(-values.real)
    return mean, columns.real[:, order].T @ inverse


def k_reciprocal(query, candidates, k1, k2, weight):
    """Distances of k-reciprocal encoding with sets of numbers; 0 is the query, then its candidates."""
    points = [unit(query), *(unit(x) for x in candidates)]
    everyone = range(len(points))
    squared = [[0.0 if i == j else max(0.0, 2 - 2 * float(points[i] @ points[j])) for j in everyone] for i in everyone]
    distance = [[value / (max(row) or 1.0) for value in row] for row in squared]
    ranked = [sorted(everyone, key=lambda j, i=i: (j != i, distance[i][j], j)) for i in everyone]

    def reciprocal(i, k):
        return {j for j in ranked[i][: k + 1] if i in ranked[j][: k + 1]}

    def encode(i):
        members = reciprocal(i, k1)
        extended = set(members)
        for j in members:
            theirs = reciprocal(j, round(k1 / 2))
            if 3 * len(theirs & members) > 2 * len(theirs):
                extended |= theirs
        weights = {j: math.exp(-distance[i][j]) for j in extended}
        total = sum(weights.values())
        return {j: value / total for j, value in weights.items()}

    plain = [encode(i) for i in everyone]

    def mean(i):
        near = ranked[i][:k2]
        return {j: sum(plain[n].get(j, 0.0) for n in near) / len(near) for j in everyone}

    mine, found = mean(0), []
    for i in everyone:
        theirs = mean(i)
        low = sum(min(mine[j], theirs[j]) for j in everyone)
        high = sum(max(mine[j], theirs[j]) for j in everyone)
        found.append((1 - weight) * (1 - low / high) + weight * distance[0][i])
    return np.array(found[1:])


def diffusion(query, candidates, k, k_query, *, alpha, gamma, steps):
    """The random walk itself, step by step."""
    n = len(candidates)
    affinity = [[max(cosine(x, y), 0.0) ** gamma for y in candidates] for x in candidates]
    near = [sorted((j for j in range(n) if j != i), key=lambda j, i=i: (-affinity[i][j], j))[:k] for i in range(n)]
    edge = np.array([[affinity[i][j] if j in near[i] and i in near[j] else 0.0 for j in range(n)] for i in range(n)])
    degree = edge.sum(1)
    step = np.array(
        [[edge[i][j] / math.sqrt(degree[i] * degree[j]) if edge[i][j] else 0.0 for j in range(n)] for i in range(n)]
    )
    tied = nearest(query, candidates, k_query)
    start = np.array([max(cosine(query, candidates[i]), 0.0) ** gamma if i in tied else 0.0 for i in range(n)])
    state = start.copy()
    for _ in range(steps):
        state = alpha * step @ state + (1 - alpha) * start
    return state
