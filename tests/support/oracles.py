"""The layers and the equations once more, in numpy float64, written from their definitions and sharing no code."""

import numpy as np


def conv_relu(maps, kernel, bias, *, stride=1, groups=1):
    """[h, w, i] * HWIO, padded by half the kernel."""
    size = kernel.shape[0]
    pad = size // 2
    padded = np.pad(np.asarray(maps, np.float64), ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))[::stride, ::stride]
    inputs, outputs = maps.shape[2] // groups, kernel.shape[3] // groups
    parts = [
        np.einsum(
            "hwiyx,yxio->hwo",
            windows[:, :, g * inputs : (g + 1) * inputs],
            np.asarray(kernel, np.float64)[..., g * outputs : (g + 1) * outputs],
            optimize=True,
        )
        for g in range(groups)
    ]
    return np.maximum(np.concatenate(parts, axis=2) + np.asarray(bias, np.float64), 0.0)


def max_pool(maps, *, window, stride, pad=0):
    """Caffe's: the output size is rounded up, a window is cut to the map."""
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
    """[h, w] to [0, 1]."""
    low, high = cam.min(), cam.max()
    if high == low:
        return np.full_like(cam, float(high > 0))
    return (cam - low) / (high - low)


def channel_weights(features):
    """Eq. 2 and 3, one channel at a time."""
    height, width, channels = features.shape
    share = [np.count_nonzero(features[..., k] > 0) / (height * width) for k in range(channels)]
    return np.array([np.log(sum(share) / q) if q > 0 else 0.0 for q in share])


def class_vector(features, cam):
    """Eq. 4, one channel at a time."""
    weights = channel_weights(features)
    return np.array([weights[k] * np.sum(features[..., k] * cam) for k in range(features.shape[2])])


def class_power_mean(features, cam, p=3.0):
    """Each channel's power mean under a map, one channel at a time; 0 for a map of nothing."""
    total = cam.sum()
    means = [np.sum(cam * features[..., k] ** p) / total if total > 0 else 0.0 for k in range(features.shape[2])]
    return np.array(means) ** (1.0 / p)


def l2(vector):
    """To norm 1; zero stays zero."""
    norm = np.sqrt(np.sum(np.square(vector, dtype=np.float64)))
    return vector / norm if norm > 0 else np.zeros_like(vector, np.float64)


def whitening(vectors, dim):
    """PCA by singular values: mean, [k, d] directions divided by the standard deviation (n - 1)."""
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(axis=0)
    _, singular, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean, directions[:dim].T / (singular[:dim] / np.sqrt(len(vectors) - 1))


def descriptor(vectors, mean=None, projection=None):
    """l2, whitening, l2, sum over classes, l2."""
    total = 0.0
    for vector in vectors:
        unit = l2(vector)
        if mean is not None and np.any(vector):
            unit = l2((unit - mean) @ projection)
        total = total + unit
    return l2(total)


def reciprocal_scores(query, rows, config):
    """k-reciprocal re-ranking, one image and one set at a time, where no two distances are equal."""
    nodes = np.concatenate([query[None], rows]).astype(np.float64)
    everyone = range(len(nodes))
    distance = np.array([[np.sum((a - b) ** 2) for b in nodes] for a in nodes])
    distance = np.array([row / row.max() for row in distance])
    order = [sorted(everyone, key=lambda j, i=i: distance[i, j]) for i in everyone]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    half = int(np.around(config.k1 / 2))
    encoding = np.zeros((len(nodes), len(nodes)))
    for i in everyone:
        own = reciprocal(i, config.k1)
        members = set(own)
        for j in own:
            other = reciprocal(j, half)
            if len(own & other) > 2 / 3 * len(other):
                members |= other
        for j in members:
            encoding[i, j] = np.exp(-distance[i, j])
        encoding[i] /= encoding[i].sum()
    encoding = np.array([np.mean([encoding[j] for j in order[i][: config.k2]], axis=0) for i in everyone])
    scores = []
    for i in everyone[1:]:
        smaller, larger = np.minimum(encoding[0], encoding[i]).sum(), np.maximum(encoding[0], encoding[i]).sum()
        jaccard = 1 - smaller / larger
        scores.append(1 - (1 - config.original_weight) * jaccard - config.original_weight * distance[0, i])
    return np.array(scores)
