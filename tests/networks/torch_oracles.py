"""This module computes networks in `torch.nn.functional` and float64, with the layers of foreign files.

The module shares no code with the library. The first forward pass draws the arrays of each layer in the layout of the
layer's file. Kernels are scaled by their inputs, so that all maps are of order 1 and every bias and statistic matters.
"""

import functools

import numpy as np

from tests.support.packages import package


class Weights:
    """A `Weights` holds and draws the arrays of a foreign file, float32, by layer and part.

    Args:
        seed: seed of the arrays.
        form: layout of the kernels. "torch": [out, in, rows, columns], dense layers [out, in]; "keras": [rows, columns,
            in, out], dense layers [in, out]; "theano": kernels [out, in, rows, columns] of true convolutions, which
            flip the kernel, dense layers [in, out].
    """

    def __init__(self, seed=0, form="torch"):
        self.torch = package("torch")
        self.layers: dict[str, dict[str, np.ndarray]] = {}
        self.kinds: dict[str, str] = {}
        self.form = form
        self._random = np.random.default_rng(seed)

    def inputs(self, inputs):
        """Transposes images [n, h, w, 3] to [n, 3, h, w]."""
        return self.torch.from_numpy(np.asarray(inputs, np.float64)).permute(0, 3, 1, 2)

    def conv(self, x, name, outputs, size, *, stride=1, pad=None, groups=1, bias=True, gain=1.0):
        self.kinds[name] = "Convolution"
        pad = size // 2 if pad is None else pad
        inputs = x.shape[1] // groups
        shape = (size, size, inputs, outputs) if self.form == "keras" else (outputs, inputs, size, size)
        kernel = self._kernel(name, shape, x, inputs * size * size, gain)
        offset = self._bias(name, outputs, gain) if bias else None
        if self.form == "theano":  # the adjoint of a correlation is a true convolution
            assert stride == groups == 1
            return self._f.conv_transpose2d(x, kernel.transpose(0, 1), offset, padding=size - 1 - pad)
        if self.form == "keras":
            kernel = kernel.permute(3, 2, 0, 1)
        return self._f.conv2d(x, kernel, offset, stride, pad, groups=groups)

    def dense(self, x, name, outputs):
        """Computes a dense layer from [n, in] to [n, out]."""
        self.kinds[name] = "InnerProduct"
        inputs = x.shape[1]
        shape = (outputs, inputs) if self.form == "torch" else (inputs, outputs)
        kernel = self._kernel(name, shape, x, inputs, 1.0)
        return x @ (kernel.T if self.form == "torch" else kernel) + self._bias(name, outputs, 1.0)

    def norm(self, x, name, epsilon=1e-5):
        """Computes a batch normalisation with stored statistics, without folding."""
        self.kinds[name] = "BatchNorm"
        count, uniform = x.shape[1], self._random.uniform
        parts = (
            self._part(name, "weight", lambda: uniform(0.5, 2, count) * self._random.choice([1, 1, 1, -1], count)),
            self._part(name, "bias", lambda: self._random.normal(size=count, scale=0.5)),
            self._part(name, "running_mean", lambda: self._random.normal(size=count, scale=0.5)),
            self._part(name, "running_var", lambda: uniform(0.5, 2, count)),
        )
        weight, bias, mean, variance = (part.reshape(1, -1, 1, 1) for part in parts)
        return (x - mean) / self.torch.sqrt(variance + epsilon) * weight + bias

    def relu(self, x):
        return x.clamp(min=0)

    def max_pool(self, x, window, stride, pad=0, *, round_up=True):
        return self._f.max_pool2d(x, window, stride, pad, ceil_mode=round_up)

    def as_state(self):
        """Returns torch's state, ``{"<layer>.<part>": array}``, with the counters of batch normalisations."""
        state = {f"{name}.{part}": array for name, layer in self.layers.items() for part, array in layer.items()}
        norms = [name for name, kind in self.kinds.items() if kind == "BatchNorm"]
        return state | {f"{name}.num_batches_tracked": np.array(1000 + i) for i, name in enumerate(norms)}

    def as_layers(self):
        """Returns ``[(name, type, [weight, bias])]`` for the writers of Caffe and Keras files."""
        return [(name, self.kinds[name], list(layer.values())) for name, layer in self.layers.items()]

    @property
    def _f(self):
        return self.torch.nn.functional

    def _kernel(self, name, shape, x, fan_in, gain):
        draw = self._random.standard_normal
        scale = np.float32(gain / np.sqrt(fan_in * float(x.square().mean())))
        return self._part(name, "weight", lambda: draw(shape, np.float32) * scale)

    def _bias(self, name, outputs, gain):
        return self._part(name, "bias", lambda: self._random.normal(size=outputs, scale=0.3 * gain))

    def _part(self, name, part, draw):
        layer = self.layers.setdefault(name, {})
        if part not in layer:
            layer[part] = np.asarray(draw(), np.float32)
        return self.torch.from_numpy(layer[part]).double()


def forward(network, weights, inputs):
    """Computes ``(logits [n, classes], {layer: maps [n, h, w, c]})`` of one of the networks below, in float64."""
    with weights.torch.no_grad():
        logits, maps = network(weights, weights.inputs(inputs))
    maps = {name: value.permute(0, 2, 3, 1).numpy() for name, value in maps.items()}
    return None if logits is None else logits.numpy(), maps


def _mean(x):
    return x.mean(dim=(2, 3))


def resnet50(w, x):
    """Computes `resnet50` of torchvision/models/resnet.py, which has its strides on the 3x3 convolutions."""
    x = w.relu(w.norm(w.conv(x, "conv1", 64, 7, stride=2, bias=False), "bn1"))
    x = w.max_pool(x, 3, 2, 1, round_up=False)
    maps = {}
    for layer, blocks, width in ((1, 3, 64), (2, 4, 128), (3, 6, 256), (4, 3, 512)):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = w.relu(w.norm(w.conv(x, f"{name}.conv1", width, 1, bias=False), f"{name}.bn1"))
            y = w.relu(w.norm(w.conv(y, f"{name}.conv2", width, 3, stride=stride, bias=False), f"{name}.bn2"))
            y = w.norm(w.conv(y, f"{name}.conv3", 4 * width, 1, bias=False), f"{name}.bn3")
            if block == 0:
                x = w.conv(x, f"{name}.downsample.0", 4 * width, 1, stride=stride, bias=False)
                x = w.norm(x, f"{name}.downsample.1")
            x = w.relu(x + y)
        maps[f"layer{layer}"] = x
    return w.dense(_mean(x), "fc", 1000), maps


def densenet161(w, x):
    """Computes `densenet161` of torchvision/models/densenet.py."""
    x = w.conv(x, "features.conv0", 96, 7, stride=2, bias=False)
    x = w.max_pool(w.relu(w.norm(x, "features.norm0")), 3, 2, 1, round_up=False)
    maps = {}
    for block, count in enumerate((6, 12, 36, 24), start=1):
        for i in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{i}"
            y = w.conv(w.relu(w.norm(x, f"{name}.norm1")), f"{name}.conv1", 192, 1, bias=False)
            y = w.conv(w.relu(w.norm(y, f"{name}.norm2")), f"{name}.conv2", 48, 3, bias=False)
            x = w.torch.cat([x, y], 1)
        if block < 4:
            name = f"features.transition{block}"
            x = maps[f"transition{block}"] = w.relu(w.norm(x, f"{name}.norm"))
            x = w.conv(x, f"{name}.conv", x.shape[1] // 2, 1, bias=False)
            x = w.torch.nn.functional.avg_pool2d(x, 2, 2)
    x = maps["norm5"] = w.relu(w.norm(x, "features.norm5"))
    return w.dense(_mean(x), "classifier", 1000), maps


def efficientnet_lite0(w, x):
    """Computes `efficientnet_lite_pytorch.EfficientNet` with the library's padding at stride 2."""

    def conv(x, name, outputs, size, **options):
        return w.conv(x, name, outputs, size, bias=False, **options)

    def strided_conv(x, name, outputs, size, **options):
        first = {3: 0, 5: 1}[size]
        x = w.torch.nn.functional.pad(x, (first, size - 1 - first) * 2)
        return conv(x, name, outputs, size, stride=2, pad=0, **options)

    def relu6(x, norm):
        return w.norm(x, norm, 1e-3).clamp(0, 6)

    x = relu6(strided_conv(x, "_conv_stem", 32, 3), "_bn0")
    maps, total_stride, number = {}, 2, 0
    for repeats, size, stride, factor, outputs in (
        (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
    ):  # fmt: skip
        for i in range(repeats):
            name, y = f"_blocks.{number}", x
            if factor > 1:
                y = relu6(conv(x, f"{name}._expand_conv", factor * x.shape[1], 1), f"{name}._bn0")
                maps[f"expansion{total_stride}"] = y
            convolve, total_stride = (strided_conv, 2 * total_stride) if (stride, i) == (2, 0) else (conv, total_stride)
            y = relu6(convolve(y, f"{name}._depthwise_conv", y.shape[1], size, groups=y.shape[1]), f"{name}._bn1")
            y = w.norm(conv(y, f"{name}._project_conv", outputs, 1), f"{name}._bn2", 1e-3)
            x, number = (y if i == 0 else x + y), number + 1
    maps["head"] = relu6(conv(x, "_conv_head", 1280, 1), "_bn1")
    maps.pop("expansion2")
    return w.dense(_mean(maps["head"]), "_fc", 1000), maps


def squeezenet(w, x, name="{fire}/{branch}", first="conv1", last="conv10", squeeze="squeeze1x1"):
    """Computes SqueezeNet_v1.1 of forresti/SqueezeNet, deploy.prototxt.

    Args:
        w: weights, which are drawn in the first forward pass.
        x: inputs [n, 3, h, w].
        name: format of the names of the layers in a fire.
        first: name of the first convolution.
        last: name of the last convolution.
        squeeze: name of the squeeze convolution of a fire.
    """
    x = w.relu(w.conv(x, first, 64, 3, stride=2, pad=0))
    maps = {}
    for fire, width in zip(range(2, 10), (16, 16, 32, 32, 48, 48, 64, 64), strict=True):
        if fire in (2, 4, 6):
            x = w.max_pool(x, 3, 2)
        names = [name.format(fire=f"fire{fire}", branch=branch) for branch in (squeeze, "expand1x1", "expand3x3")]
        y = w.relu(w.conv(x, names[0], width, 1))
        x = w.torch.cat([w.relu(w.conv(y, names[1], 4 * width, 1)), w.relu(w.conv(y, names[2], 4 * width, 3))], 1)
        maps[f"fire{fire}"] = x
    x = maps["conv10"] = w.relu(w.conv(x, last, 1000, 1))
    return _mean(x), maps


def squeezenet_torchvision(w, x):
    """Computes `squeezenet1_1` of torchvision/models/squeezenet.py."""
    positions = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}

    class Name:
        def format(self, fire, branch):
            return f"features.{positions[int(fire[4:])]}.{branch}"

    return squeezenet(w, x, Name(), "features.0", "classifier.1", "squeeze")


def googlenet(w, x, *, cam=False):
    """Computes GoogLeNet of Caffe's models/bvlc_googlenet/deploy.prototxt.

    If ``cam`` is True, computes GoogLeNet-CAM of metalbubble/CAM, deploy_googlenetCAM.prototxt.
    """
    lrn = functools.partial(w.torch.nn.functional.local_response_norm, size=5, alpha=1e-4, beta=0.75, k=1.0)
    # Maps of order 100, as in the released network; for smaller values the response normalisation has no effect.
    x = lrn(w.max_pool(w.relu(w.conv(x, "conv1/7x7_s2", 64, 7, stride=2, gain=100.0)), 3, 2))
    x = w.relu(w.conv(x, "conv2/3x3_reduce", 64, 1, gain=100.0))
    x = w.max_pool(lrn(w.relu(w.conv(x, "conv2/3x3", 192, 3, gain=100.0))), 3, 2)
    widths = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    maps = {}
    for block, (width, three_reduce, three, five_reduce, five, pool) in widths.items():
        if block in ("4a", "5a"):
            if cam and block == "5a":
                break
            x = w.max_pool(x, 3, 2)
        name = f"inception_{block}"
        a = w.relu(w.conv(x, f"{name}/1x1", width, 1))
        b = w.relu(w.conv(w.relu(w.conv(x, f"{name}/3x3_reduce", three_reduce, 1)), f"{name}/3x3", three, 3))
        c = w.relu(w.conv(w.relu(w.conv(x, f"{name}/5x5_reduce", five_reduce, 1)), f"{name}/5x5", five, 5))
        d = w.relu(w.conv(w.max_pool(x, 3, 1, 1), f"{name}/pool_proj", pool, 1))
        x = maps[name] = w.torch.cat([a, b, c, d], 1)
    if cam:
        x = maps["cam_conv"] = w.relu(w.conv(x, "CAM_conv", 1024, 3, groups=2))
    return w.dense(_mean(x), "CAM_fc" if cam else "loss3/classifier", 1000), maps


CAFFE = [f"conv{block}_{i}" for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)) for i in range(1, count + 1)]
APPLICATIONS = [name.replace("conv", "block").replace("_", "_conv") for name in CAFFE]
TORCHVISION = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
AUTHORS = [f"convolution2d_{i}" for i in range(1, 11)] + ["relu5_1", "convolution2d_11", "relu5_3"]
"""The layer names of imatge-upc/retrieval-2017-cam, keras_code/vgg_cam.py, with Keras' default names."""


def vgg16(w, x, names, *, cam=(), groups=1, dense=()):
    """Computes configuration D of Simonyan & Zisserman 2015.

    Args:
        w: weights, which are drawn in the first forward pass.
        x: inputs [n, 3, h, w].
        names: names of the convolutions.
        cam: names of the CAM convolution and the classifier; empty: none.
        groups: groups of the CAM convolution.
        dense: names of the three dense layers; empty: none.
    """
    maps = {}
    for layer, name, width in zip(CAFFE, names, (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6, strict=True):
        if layer in ("conv2_1", "conv3_1", "conv4_1", "conv5_1"):
            x = w.max_pool(x, 2, 2)
        x = maps[layer] = w.relu(w.conv(x, name, width, 3))
    pool5 = maps["pool5"] = w.max_pool(x, 2, 2)
    if cam:
        x = maps["cam_conv"] = w.relu(w.conv(x, cam[0], 1024, 3, groups=groups))
        return w.dense(_mean(x), cam[1], 1000), maps
    if dense:
        return vgg16_head(w, pool5, dense, (4096, 4096, 1000)), maps
    return None, maps


def vgg16_head(w, pool5, names, widths):
    """Computes VGG-16's dense layers on pool5, pooled to 7 x 7 as in torchvision and flattened as in the framework."""
    pooled = w.torch.nn.functional.adaptive_avg_pool2d(pool5, 7)
    x = (pooled.permute(0, 2, 3, 1) if w.form == "keras" else pooled).flatten(1)
    x = w.relu(w.dense(x, names[0], widths[0]))
    return w.dense(w.relu(w.dense(x, names[1], widths[1])), names[2], widths[2])
