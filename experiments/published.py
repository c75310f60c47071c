"""Numbers the paper prints, to be set beside ours."""

# Table 1a.
_BASELINES = {
    "oxford5k": {"Raw": 0.396, "Raw+CroW": 0.420, "Raw+PCA": 0.589, "Raw+CroW+PCA": 0.607},
    "paris6k": {"Raw": 0.526, "Raw+CroW": 0.549, "Raw+PCA": 0.662, "Raw+CroW+PCA": 0.685},
}

# Figure 4, N_pca = 1, read by eye (its caption swaps the panels: the left one is Offline). 64 is Table 2a.
_CURVES = {
    ("oxford5k", "OfA"): {1: 0.667, 4: 0.704, 8: 0.709, 32: 0.711, 64: 0.712},
    ("paris6k", "OfA"): {1: 0.683, 4: 0.750, 8: 0.771, 32: 0.800, 64: 0.805},
    ("oxford5k", "OnA"): {1: 0.713, 4: 0.728, 8: 0.724, 32: 0.731, 64: 0.736},
    ("paris6k", "OnA"): {1: 0.848, 4: 0.857, 8: 0.857, 32: 0.857, 64: 0.855},
}

# Table 2b without re-ranking: N_C 64, N_pca 1, QE 10.
_EXPANDED = {
    ("oxford5k", "OfA"): 0.730,
    ("paris6k", "OfA"): 0.836,
    ("oxford5k", "OnA"): 0.760,
    ("paris6k", "OnA"): 0.873,
}

# Figure 5a: the first 16 of the predefined classes, as 0-based ILSVRC indices (the other 48 were never published).
PREDEFINED_CLASSES = (884, 442, 421, 409, 498, 506, 718, 538, 708, 557, 497, 494, 839, 448, 835, 873)


def mean_average_precision(
    dataset: str, network: str, method: str, *, nc: int | None, npca: int | None, qe: int
) -> float | None:
    """The paper's value for a setting, or None where it has none. Only VGG-16-CAM is tabulated here."""
    dataset = dataset.lower()
    if not network.startswith("vgg16_cam"):
        return None
    if method in _BASELINES.get(dataset, {}):
        return _BASELINES[dataset][method] if qe == 0 else None
    if npca != 1:
        return None
    if qe == 0:
        return _CURVES.get((dataset, method), {}).get(nc or 0)
    return _EXPANDED.get((dataset, method)) if (qe, nc) == (10, 64) else None
