"""This module holds the numbers that the paper prints, for comparison with measured ones."""

DATASETS = ("oxford5k", "paris6k", "oxford105k", "paris106k")

# Table 1a.
_BASELINES = {
    "Raw": (0.396, 0.526),
    "Raw+CroW": (0.420, 0.549),
    "Raw+PCA": (0.589, 0.662),
    "Raw+CroW+PCA": (0.607, 0.685),
}

# Table 1a, second block: other networks, raw features and 64 CAMs (OfA, N_pca 1).
_NETWORKS = {
    ("resnet50", "Raw"): (0.389, 0.508),
    ("resnet50", "OfA"): (0.699, 0.804),
    ("densenet161", "Raw"): (0.339, 0.495),
    ("densenet161", "OfA"): (0.695, 0.799),
}

# Table 1b: seconds of a query by number of CAMs (0: raw features and PCA), on the authors' machine.
QUERY_SECONDS = {0: 0.5, 1: 0.5, 8: 0.6, 32: 0.9, 64: 1.5}

# Figure 4, N_pca = 1, read off the plot (the caption swaps the panels: the left one is Offline). 64 is from Table 2a.
CURVES = {
    ("oxford5k", "OfA"): {1: 0.667, 4: 0.704, 8: 0.709, 32: 0.711, 64: 0.712},
    ("paris6k", "OfA"): {1: 0.683, 4: 0.750, 8: 0.771, 32: 0.800, 64: 0.805},
    ("oxford5k", "OnA"): {1: 0.713, 4: 0.728, 8: 0.724, 32: 0.731, 64: 0.736},
    ("paris6k", "OnA"): {1: 0.848, 4: 0.857, 8: 0.857, 32: 0.857, 64: 0.855},
}

# Figure 5b, Oxford5k, predefined classes of Paris6k, read off the plot: {N_pca: {N_C: mAP}}.
PREDEFINED_CURVES = {1: {1: 0.7285, 16: 0.732, 64: 0.7275}, 32: {1: 0.726, 16: 0.739, 64: 0.7355}}

# Tables 2a and 2b: (method, R, QE) -> mAP on each of `DATASETS`, None if the table has no value. OnA and OfA have
# N_C 64 and N_pca 1.
_COMPARISON: dict[tuple[str, int, int], tuple[float | None, ...]] = {
    ("SPoC", 0, 0): (0.531, None, 0.501, None),
    ("uCroW", 0, 0): (0.666, 0.767, 0.629, 0.695),
    ("CroW", 0, 0): (0.682, 0.796, 0.632, 0.710),
    ("R-MAC", 0, 0): (0.669, 0.830, 0.616, 0.757),
    ("BoW", 0, 0): (0.738, 0.820, 0.593, 0.648),
    ("Razavian", 0, 0): (0.843, 0.853, None, None),
    ("OnA", 0, 0): (0.736, 0.855, None, None),
    ("OfA", 0, 0): (0.712, 0.805, 0.672, 0.733),
    ("CroW", 0, 10): (0.722, 0.855, 0.678, 0.797),
    ("OnA", 0, 10): (0.760, 0.873, None, None),
    ("OfA", 0, 10): (0.730, 0.836, 0.712, 0.791),
    ("BoW", 100, 10): (0.788, 0.848, 0.651, 0.641),
    ("OnA", 100, 10): (0.780, 0.874, None, None),
    ("OfA", 100, 10): (0.773, 0.838, 0.750, 0.780),
    ("R-MAC", 1000, 5): (0.770, 0.877, 0.726, 0.817),
    ("OnA", 1000, 5): (0.811, 0.874, None, None),
    ("OfA", 1000, 5): (0.801, 0.855, 0.769, 0.800),
}

# Figure 5a: the first 16 predefined classes, as 0-based ILSVRC indices (the other 48 were never published).
PREDEFINED_CLASSES = (884, 442, 421, 409, 498, 506, 718, 538, 708, 557, 497, 494, 839, 448, 835, 873)

# Figure 5a: for each of the 64 classes, how many of Paris6k's 55 queries have it among their 64 most probable classes.
APPEARANCES = (
    *(53, 52, 49, 49, 46, 45, 45, 45, 44, 43, 43, 43, 41, 41, 41, 40, 40, 40, 40, 39, 38, 38),
    *(35, 35, 35, 35, 35, 34, 33, 33, 32, 32, 32, 31, 31, 31, 31, 30, 30, 30, 30, 30, 30, 29),
    *(29, 28, 28, 28, 28, 27, 27, 27, 27, 27, 26, 26, 23, 22, 22, 22, 21, 20, 20, 20),
)
QUERIES = 55


def mean_average_precision(
    dataset: str, network: str, method: str, *, nc: int | None, npca: int | None, qe: int, rerank: int = 0
) -> float | None:
    """Returns the paper's mAP for a setting, or None if the paper has no value.

    The other methods of Table 2 have no N_C and N_pca; their own network is VGG-16.
    """
    dataset = dataset.lower()
    if dataset not in DATASETS:
        return None
    column = DATASETS.index(dataset)
    if (network, method) in _NETWORKS:
        published_setting = (None, None) if method == "Raw" else (64, 1)
        return (
            _value_in(_NETWORKS[network, method], column)
            if (qe, rerank) == (0, 0) and (nc, npca) == published_setting
            else None
        )
    if not network.startswith("vgg16"):
        return None
    if method in _BASELINES:
        return _value_in(_BASELINES[method], column) if (qe, rerank) == (0, 0) else None
    if method == "Predefined":
        curve = PREDEFINED_CURVES.get(npca or 0, {}) if dataset == "oxford5k" and (qe, rerank) == (0, 0) else {}
        return curve.get(nc or 0)
    if (method in ("OnA", "OfA")) != (npca == 1):
        return None
    if (qe, rerank) == (0, 0) and (dataset, method) in CURVES:
        return CURVES[dataset, method].get(nc or 0)
    if method in ("OnA", "OfA") and nc != 64:
        return None
    return _value_in(_COMPARISON.get((method, rerank, qe), ()), column)


def _value_in(values: tuple[float | None, ...], column: int) -> float | None:
    """Returns the value in a column of a table row, or None if the row is shorter."""
    return values[column] if column < len(values) else None
