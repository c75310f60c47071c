"""This module defines layers that give every image of a padded batch the same maps as the image alone.

A batch holds images of several sizes, each padded with zeros to a common shape. Every layer of this module reads zeros
outside the valid area, as a SAME convolution of the unpadded image does. Every layer also writes zeros outside the
valid area, as far as the next layer reads.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum, valid_mask
from cwcf_jax.networks import stem, winograd
from cwcf_jax.networks.spec import Sizes

Maps = Float[Array, "b _h _w _c"]
"""Maps of a batch. Underscores: a layer's result may have other rows, columns and channels than its input."""


def mask_padding(maps: Maps, sizes: Sizes) -> Maps:
    """Sets the maps to zero outside the valid area of each image."""
    masks = jax.vmap(lambda size: valid_mask(size, maps.shape[1:3]))(sizes)
    return jnp.where(masks[..., None], maps, 0.0)


MARGIN = 3
"""The number of cells beyond the valid area that a layer may read: half of the widest kernel, 7."""


def zero_margin(maps: Maps, sizes: Sizes) -> Maps:
    """Sets the maps to zero outside the valid area of each image, as far as the next layer reads.

    On CPUs the mask of `mask_padding` costs nothing: XLA fuses it into the loop that adds the bias. On GPUs the
    vendor's library adds the bias, and a mask would cost VGG-16-CAM an eighth of its time. So on GPUs only the `MARGIN`
    is written, in place. Values beyond the margin are finite, and no layer reads them.
    """
    return jax.lax.platform_dependent(maps, sizes, cuda=write_zero_margin, rocm=write_zero_margin, default=mask_padding)


def write_zero_margin(maps: Maps, sizes: Sizes) -> Maps:
    """Writes zeros to the `MARGIN` rows and columns that follow the valid area of each image."""
    offsets = jnp.arange(MARGIN)

    def zero_image_margin(image: Float[Array, "h w c"], size: Int[Array, "2"]) -> Float[Array, "h w c"]:
        image = image.at[size[0] + offsets].set(0.0, mode="drop", unique_indices=True)
        return image.at[:, size[1] + offsets].set(0.0, mode="drop", unique_indices=True)

    return jax.vmap(zero_image_margin)(maps, sizes)


class Conv(nnx.Conv):
    """A `Conv` is a convolution with padding of half its odd kernel, in full float32 on every backend.

    On CPUs, 3x3 convolutions of many channels use `winograd`, and convolutions of pixels to few channels use `stem`.
    On GPUs, convolutions of pixels in bfloat16 use `stem`; the vendor's library chooses all other algorithms.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        groups: int = 1,
        pad: bool = True,
        bias: bool = True,
        rngs: nnx.Rngs,
    ):
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        margins = tuple(side // 2 if pad else 0 for side in size)
        if pad and max(size) // 2 > MARGIN:
            raise ValueError(f"a kernel of {size[0]} x {size[1]} reads beyond the margin of {MARGIN} cells")
        super().__init__(
            inputs,
            outputs,
            size,
            strides=(stride, stride),
            padding=[(margin, margin) for margin in margins],
            feature_group_count=groups,
            use_bias=bias,
            kernel_init=nnx.initializers.he_normal(),
            precision=jax.lax.Precision.HIGHEST,
            rngs=rngs,
        )
        wide = min(inputs, outputs) >= winograd.MIN_CHANNELS
        self.winograd = wide and pad and (*size, stride, groups) == (winograd.KERNEL, winograd.KERNEL, 1, 1)
        self.pointwise = (*size, stride, groups) == (1, 1, 1, 1)
        self.stride = stride
        self.reads_pixels = inputs <= stem.MAX_CHANNELS and groups == 1 and not self.pointwise
        self.multiplies = (
            self.reads_pixels and max(size) <= stem.MAX_MULTIPLIED_KERNEL and outputs <= stem.MAX_MULTIPLIED_OUTPUTS
        )
        self.margins = margins
        self.joins_cells = self.reads_pixels and pad and bias

    def __call__(self, inputs: Maps) -> Maps:  # type: ignore[override]
        bias = None if self.bias is None else self.bias[...]
        if self.pointwise:  # on CPUs, a matrix product is up to a fourth faster than XLA's convolution
            return _pointwise(inputs, self.kernel[0, 0], bias)
        faster: dict[str, Callable[..., Maps]] = {}
        if self.winograd and winograd.is_faster(*inputs.shape[1:3]):
            faster["cpu"] = functools.partial(_with_bias, winograd.convolve)
        if self.multiplies:
            faster["cpu"] = functools.partial(_with_bias, self._multiply)
        if self.joins_cells and inputs.dtype == jnp.bfloat16 and stem.fits(inputs.shape[2], self.stride):
            faster |= dict.fromkeys(("cuda", "rocm"), functools.partial(stem.convolve, stride=self.stride))
        if not faster:
            return super().__call__(inputs)
        direct = super().__call__
        return jax.lax.platform_dependent(
            inputs, self.kernel[...], bias, **faster, default=lambda maps, *_: direct(maps)
        )

    def _multiply(self, maps: Maps, kernel: Float[Array, "y x c n"]) -> Maps:
        padded = jnp.pad(maps, [(0, 0), *((margin, margin) for margin in self.margins), (0, 0)])
        return stem.multiply(padded, kernel, self.stride)


def _with_bias(
    convolve: Callable[[Maps, Array], Maps],
    maps: Maps,
    kernel: Float[Array, "y x c n"],
    bias: Float[Array, " n"] | None,
) -> Maps:
    results = convolve(maps, kernel)
    return results if bias is None else results + bias.reshape(1, 1, 1, -1)


class Dense(nnx.Linear):
    """A `Dense` layer multiplies in full float32 on every backend."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, precision=jax.lax.Precision.HIGHEST, rngs=rngs)


class Affine(nnx.Module):
    """An `Affine` computes ``x * scale + bias`` for each channel: a batch normalisation that follows no convolution."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, maps: Maps) -> Maps:
        scale, bias = self.scale[...], self.bias[...]
        return maps * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)


def conv_relu(conv: Callable[[Maps], Maps], maps: Maps, sizes: Sizes) -> Maps:
    """Applies a convolution, or another linear layer, and a ReLU; ``sizes`` are the valid areas of the result."""
    return zero_margin(jax.nn.relu(conv(maps)), sizes)


def affine_relu(affine: Affine, maps: Maps, sizes: Sizes) -> Maps:
    """Applies an `Affine` and a ReLU."""
    return mask_padding(jax.nn.relu(affine(maps)), sizes)


def fused_conv_relu(convs: Sequence[Conv], maps: Maps, sizes: Sizes) -> list[Maps]:
    """Applies several 1x1 convolutions and ReLUs to the same maps, as one wider and thus faster matrix product."""
    kernel = jnp.concatenate([conv.kernel[0, 0] for conv in convs], axis=1)
    bias = jnp.concatenate([conv.bias[...] for conv in convs if conv.bias is not None])
    results = conv_relu(lambda inputs: _pointwise(inputs, kernel, bias), maps, sizes)
    return jnp.split(results, np.cumsum([conv.out_features for conv in convs[:-1]]), axis=-1)


def _pointwise(maps: Maps, kernel: Float[Array, "c n"], bias: Float[Array, " n"] | None) -> Maps:
    results = einsum("bhwc,cn->bhwn", maps, kernel).astype(maps.dtype)
    return results if bias is None else results + bias.reshape(1, 1, 1, -1)


def max_pool(maps: Maps, sizes: Sizes, *, window: int, stride: int, pad: int = 0, round_up: bool = True) -> Maps:
    """Computes max pooling; ``sizes`` are the valid areas of the result.

    The maps must be non-negative, as after a ReLU, so that the zeros of the padding are never the maximum. The maximum
    of strided slices, first along rows, then along columns, is bit-identical to a window reduction and faster on CPUs.
    """
    pool = functools.partial(pooled_size, window=window, stride=stride, pad=pad, round_up=round_up)
    for axis in (1, 2):
        maps = functools.reduce(jnp.maximum, _windows(maps, axis, pool(maps.shape[axis]), window, stride, pad))
    return mask_padding(maps, sizes)


def mean_pool_2x2(maps: Maps, sizes: Sizes) -> Maps:
    """Computes the mean of each 2 x 2 cells without an odd last row or column; ``sizes`` are those of the result."""
    for axis in (1, 2):
        outputs = pooled_size(maps.shape[axis], window=2, stride=2, round_up=False)
        maps = 0.5 * functools.reduce(jnp.add, _windows(maps, axis, outputs, 2, 2, 0))
    return mask_padding(maps, sizes)


def _windows(maps: Maps, axis: int, outputs: int, window: int, stride: int, pad: int) -> list[Maps]:
    """Returns ``window`` strided slices; slice i holds cell i of each of the ``outputs`` windows along ``axis``."""
    read_length = (outputs - 1) * stride + window
    padding = [(0, 0)] * 4
    padding[axis] = (pad, max(0, read_length - maps.shape[axis] - pad))
    padded = jnp.pad(maps, padding)
    slice_length = (outputs - 1) * stride + 1
    return [jax.lax.slice_in_dim(padded, i, i + slice_length, stride, axis) for i in range(window)]


def pooled_size(size: Any, *, window: int, stride: int, pad: int = 0, round_up: bool = True) -> Any:
    """Returns the output size of a pool, or of a convolution, for an int or an integer array of sizes.

    Caffe's pools round up; torch's pools and all convolutions round down. The size is at least 1, so that no image
    disappears.
    """
    steps = size + 2 * pad - window
    pooled = (-(-steps // stride) if round_up else steps // stride) + 1
    return jnp.maximum(pooled, 1) if isinstance(pooled, jax.Array) else max(pooled, 1)


def strided_size(size: Any, *, stride: int) -> Any:
    """Returns the output size of a convolution that is padded by half its odd kernel."""
    return -(-size // stride)


def local_response_norm(maps: Maps, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> Maps:
    """Computes local response normalisation across channels, ``x / (1 + alpha / size * sum x^2) ^ beta``.

    Source: Krizhevsky et al. 2012, section 3.3, with Caffe's division of alpha by the size. Only ``beta`` 0.75 is
    implemented, as two reciprocal square roots instead of a power.
    """
    if beta != 0.75:
        raise ValueError(f"local_response_norm implements beta 0.75, not {beta}")
    squares = jnp.pad(jnp.square(maps), [(0, 0)] * 3 + [(size // 2, size // 2)])
    channels = maps.shape[-1]
    total = functools.reduce(jnp.add, [squares[..., i : i + channels] for i in range(size)])
    base = 1.0 + (alpha / size) * total
    return maps * jax.lax.rsqrt(base) * jax.lax.rsqrt(jnp.sqrt(base))


def mean_pool(maps: Maps, sizes: Sizes) -> Float[Array, "b c"]:
    """Computes global average pooling over the valid cells."""
    cells = jnp.prod(sizes, axis=-1).astype(maps.dtype)
    return jnp.sum(mask_padding(maps, sizes), axis=(1, 2)) / cells[:, None]


def mean_pool_to(maps: Maps, sizes: Sizes, side: int) -> Maps:
    """Computes adaptive average pooling to ``side x side`` cells, as torch does.

    Of n valid cells along an axis, result i averages the cells from floor(i n / side) to ceil((i + 1) n / side), the
    end excluded. Maps of ``side x side`` valid cells stay as they are.
    """

    def weights(size: Int[Array, ""], length: int) -> Float[Array, "bins cells"]:
        bins, cells = jnp.arange(side)[:, None], jnp.arange(length)[None, :]
        inside = (cells >= bins * size // side) & (cells < -(-(bins + 1) * size // side))
        counts = inside.astype(jnp.float32)
        return counts / jnp.sum(counts, axis=1, keepdims=True)

    def pool_image(image: Float[Array, "h w c"], size: Int[Array, "2"]) -> Float[Array, "side side c"]:
        rows, columns = weights(size[0], image.shape[0]), weights(size[1], image.shape[1])
        return einsum("yh,xw,hwc->yxc", rows, columns, image)

    return jax.vmap(pool_image)(maps, sizes)
