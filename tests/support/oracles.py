"""This module implements layers and equations in numpy float64, from their definitions and without library code."""

import numpy as np


def conv_relu(maps, kernel, bias, *, stride=1, groups=1):
    """Computes a convolution and a ReLU, of maps [h, w, i] and a kernel [k, k, i, o], padded by half the kernel."""
    size = kernel.shape[0]
    pad = size // 2
    padded = np.pad(np.asarray(maps, np.float64), ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))[::stride, ::stride]
    inputs, outputs = maps.shape[2] // groups, kernel.shape[3] // groups
    group_outputs = [
        np.einsum(
            "hwiyx,yxio->hwo",
            windows[:, :, g * inputs : (g + 1) * inputs],
            np.asarray(kernel, np.float64)[..., g * outputs : (g + 1) * outputs],
            optimize=True,
        )
        for g in range(groups)
    ]
    return np.maximum(np.concatenate(group_outputs, axis=2) + np.asarray(bias, np.float64), 0.0)


def max_pool(maps, *, window, stride, pad=0):
    """Computes max pooling as in Caffe: the output size is rounded up, and windows end at the border of the map."""
    height, width, _ = maps.shape
    rows = max(1, int(np.ceil((height + 2 * pad - window) / stride)) + 1)
    columns = max(1, int(np.ceil((width + 2 * pad - window) / stride)) + 1)
    out = np.empty((rows, columns, maps.shape[2]))
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride - pad, x * stride - pad
            out[y, x] = maps[max(top, 0) : top + window, max(left, 0) : left + window].max(axis=(0, 1))
    return out


def min_max(cam):
    """Normalizes a map [h, w] to the range 0 to 1."""
    low, high = cam.min(), cam.max()
    if high == low:
        return np.full_like(cam, float(high > 0))
    return (cam - low) / (high - low)


def channel_weights(features):
    """Computes the channel weights (Eq. 2 and 3), one channel at a time."""
    height, width, channels = features.shape
    shares = [np.count_nonzero(features[..., k] > 0) / (height * width) for k in range(channels)]
    return np.array([np.log(sum(shares) / share) if share > 0 else 0.0 for share in shares])


def class_vector(features, cam):
    """Computes a class vector (Eq. 4), one channel at a time."""
    weights = channel_weights(features)
    return np.array([weights[k] * np.sum(features[..., k] * cam) for k in range(features.shape[2])])


def class_power_mean(features, cam, p=3.0):
    """Computes the power mean of each channel, weighted by a map, one channel at a time; 0 if the map is 0."""
    total = cam.sum()
    means = [np.sum(cam * features[..., k] ** p) / total if total > 0 else 0.0 for k in range(features.shape[2])]
    return np.array(means) ** (1.0 / p)


def l2(vector):
    """Normalizes a vector to norm 1; the zero vector stays zero."""
    norm = np.sqrt(np.sum(np.square(vector, dtype=np.float64)))
    return vector / norm if norm > 0 else np.zeros_like(vector, np.float64)


def whitening(vectors, dim):
    """Fits a PCA by singular values; returns the mean and the projection [k, d] to unit variance (n - 1)."""
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(axis=0)
    _, singular, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean, directions[:dim].T / (singular[:dim] / np.sqrt(len(vectors) - 1))


def descriptor(vectors, mean=None, projection=None):
    """Aggregates class vectors: normalizes, whitens and normalizes each, sums them, and normalizes the sum."""
    total = 0.0
    for vector in vectors:
        unit = l2(vector)
        if mean is not None and np.any(vector):
            unit = l2((unit - mean) @ projection)
        total = total + unit
    return l2(total)


def reciprocal_scores(query, rows, config):
    """Computes the scores of k-reciprocal re-ranking, one image and one set at a time; distances must not be equal."""
    nodes = np.concatenate([query[None], rows]).astype(np.float64)
    all_nodes = range(len(nodes))
    distance = np.array([[np.sum((a - b) ** 2) for b in nodes] for a in nodes])
    distance = np.array([row / row.max() for row in distance])
    order = [sorted(all_nodes, key=lambda j, i=i: distance[i, j]) for i in all_nodes]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    half = int(np.around(config.k1 / 2))
    encoding = np.zeros((len(nodes), len(nodes)))
    for i in all_nodes:
        neighbours = reciprocal(i, config.k1)
        members = set(neighbours)
        for j in neighbours:
            candidates = reciprocal(j, half)
            if len(neighbours & candidates) > 2 / 3 * len(candidates):
                members |= candidates
        for j in members:
            encoding[i, j] = np.exp(-distance[i, j])
        encoding[i] /= encoding[i].sum()
    encoding = np.array([np.mean([encoding[j] for j in order[i][: config.k2]], axis=0) for i in all_nodes])
    scores = []
    for i in all_nodes[1:]:
        smaller, larger = np.minimum(encoding[0], encoding[i]).sum(), np.maximum(encoding[0], encoding[i]).sum()
        jaccard = 1 - smaller / larger
        scores.append(1 - (1 - config.original_weight) * jaccard - config.original_weight * distance[0, i])
    return np.array(scores)
