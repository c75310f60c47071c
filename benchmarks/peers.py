"""This module runs the library's networks in PyTorch and ONNX Runtime, with the same weights, as peers to compare with.

The networks are written as users of PyTorch write them. Inputs are preprocessed pixels, shape [b, 3, h, w], channels
last in memory. `Encoder` adds section 3 of the paper: CAMs of the most probable classes, class vectors, channel weights
and aggregation.
"""

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from cwcf_jax.encoder import Model
from cwcf_jax.networks import efficientnet_lite, googlenet, resnet, vgg
from cwcf_jax.networks.spec import Params

Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Feature maps, the maps before global average pooling, and logits."""


def conv(params: Params, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Makes a convolution that is padded by half its kernel."""
    kernel = np.array(params["kernel"])
    height, width, inputs, outputs = kernel.shape
    padding = (height // 2, width // 2)
    layer = nn.Conv2d(inputs * groups, outputs, (height, width), stride=stride, padding=padding, groups=groups)
    layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    layer.bias.data = torch.from_numpy(np.array(params["bias"]))
    return layer


def dense(params: Params) -> nn.Linear:
    """Makes a dense layer."""
    inputs, outputs = params["kernel"].shape
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = torch.from_numpy(np.array(params["kernel"]).T.copy())
    layer.bias.data = torch.from_numpy(np.array(params["bias"]))
    return layer


class VGGCAM(nn.Module):
    """`VGGCAM` is VGG-16-CAM."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({layer.name: conv(params[layer.name]) for layer in vgg.CONVOLUTIONS})
        self.cam_conv = conv(params["cam_conv"])
        self.classifier = dense(params["classifier"])

    def forward(self, x: torch.Tensor) -> Outputs:
        """Runs the network on preprocessed pixels, shape [b, 3, h, w]."""
        features = x
        for name, layer in self.trunk.items():
            if name.endswith("_1") and name != "conv1_1":
                x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
            x = functional.relu(layer(x))
            if name == "conv5_1":
                features = x
        x = functional.relu(self.cam_conv(x))
        return features, x, self.classifier(x.mean((2, 3)))


class Inception(nn.Module):
    """`Inception` is a block of GoogLeNet with four parallel branches."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        for name, part in params.items():
            setattr(self, name, conv(part))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block on maps, shape [b, c, h, w]."""
        reduced3x3 = functional.relu(self.conv3x3_reduce(x))
        reduced5x5 = functional.relu(self.conv5x5_reduce(x))
        pooled = functional.max_pool2d(x, 3, 1, 1)
        branches = self.conv1x1(x), self.conv3x3(reduced3x3), self.conv5x5(reduced5x5), self.pool_projection(pooled)
        return functional.relu(torch.cat(branches, 1))


class GoogLeNet(nn.Module):
    """`GoogLeNet` is the network released with Caffe."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.conv1 = conv(params["conv1"], stride=2)
        self.conv2_reduce, self.conv2 = conv(params["conv2_reduce"]), conv(params["conv2"])
        self.inceptions = nn.ModuleDict({name: Inception(params[name]) for name in googlenet.INCEPTIONS})
        self.classifier = dense(params["classifier"])

    def forward(self, x: torch.Tensor) -> Outputs:
        """Runs the network on preprocessed pixels, shape [b, 3, h, w]."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 3, 2, ceil_mode=True)
        x = functional.relu(self.conv2_reduce(functional.local_response_norm(x, 5)))
        x = functional.local_response_norm(functional.relu(self.conv2(x)), 5)
        features = x
        for name, inception in self.inceptions.items():
            if name.endswith("a"):
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            x = inception(x)
            if name == "inception_5a":
                features = x
        return features, x, self.classifier(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """`Bottleneck` is a block of ResNet-50 with folded batch normalisations."""

    def __init__(self, params: Params, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv3 = conv(params["conv1"]), conv(params["conv3"])
        self.conv2 = conv(params["conv2"], stride=stride)
        self.shortcut = conv(params["downsample"], stride=stride) if "downsample" in params else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block on maps, shape [b, c, h, w]."""
        shortcut = self.shortcut(x)
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        return functional.relu(self.conv3(x) + shortcut)


class ResNet50(nn.Module):
    """`ResNet50` is ResNet-50."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.conv1 = conv(params["conv1"], stride=2)
        self.blocks = nn.Sequential(
            *(
                Bottleneck(params[f"{name}_{i}"], 2 if i == 0 and name != "layer1" else 1)
                for name, (count, _) in resnet.LAYERS.items()
                for i in range(count)
            )
        )
        self.classifier = dense(params["classifier"])

    def forward(self, x: torch.Tensor) -> Outputs:
        """Runs the network on preprocessed pixels, shape [b, 3, h, w]."""
        x = self.blocks(functional.max_pool2d(functional.relu(self.conv1(x)), 3, 2, 1))
        return x, x, self.classifier(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """`InvertedResidual` is a block of EfficientNet-Lite with folded batch normalisations."""

    def __init__(self, params: Params, block: efficientnet_lite.Block) -> None:
        super().__init__()
        self.expand = conv(params["expand"]) if "expand" in params else nn.Identity()
        self.depthwise = conv(params["depthwise"], stride=block.stride, groups=block.inner)
        self.project = conv(params["project"])
        self.has_residual = block.stride == 1 and block.inputs == block.outputs
        self.pad = nn.Identity() if block.stride == 1 else move_padding(self.depthwise)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the expanded maps and the result for maps, shape [b, c, h, w]."""
        expanded = x if isinstance(self.expand, nn.Identity) else functional.relu6(self.expand(x))
        projected = self.project(functional.relu6(self.depthwise(self.pad(expanded))))
        return expanded, x + projected if self.has_residual else projected


class EfficientNetLite(nn.Module):
    """`EfficientNetLite` is EfficientNet-Lite with the library's padding."""

    def __init__(self, params: Params, width: float, depth: float) -> None:
        super().__init__()
        structure = efficientnet_lite.blocks(width, depth)
        self.blocks = nn.ModuleList(InvertedResidual(params[f"block{i}"], block) for i, block in enumerate(structure))
        self.feature_block = max(i for i, block in enumerate(structure) if block.reached == 16)
        self.stem, self.head = conv(params["stem"], stride=2), conv(params["head"])
        self.pad = move_padding(self.stem)
        self.classifier = dense(params["classifier"])

    def forward(self, x: torch.Tensor) -> Outputs:
        """Runs the network on preprocessed pixels, shape [b, 3, h, w]."""
        x = functional.relu6(self.stem(self.pad(x)))
        features = x
        for i, block in enumerate(self.blocks):
            expanded, x = block(x)
            if i == self.feature_block:
                features = expanded
        x = functional.relu6(self.head(x))
        return features, x, self.classifier(x.mean((2, 3)))


def move_padding(layer: nn.Conv2d) -> nn.Module:
    """Removes the padding of a layer of stride 2; returns a module that pads as the library does."""
    side = layer.kernel_size[0]
    layer.padding = (0, 0)
    first = side // 2 - 1
    return nn.ZeroPad2d((first, side - 1 - first) * 2)


NETWORKS: dict[str, Callable[[Params], nn.Module]] = {
    "efficientnet_lite0": functools.partial(EfficientNetLite, width=1.0, depth=1.0),
    "efficientnet_lite1": functools.partial(EfficientNetLite, width=1.0, depth=1.1),
    "efficientnet_lite2": functools.partial(EfficientNetLite, width=1.1, depth=1.2),
    "vgg16_cam": VGGCAM,
    "googlenet": GoogLeNet,
    "resnet50": ResNet50,
}


class Encoder(nn.Module):
    """`Encoder` computes descriptors, [b, k], of the ``num_classes`` most probable classes, unwhitened (Eq. 1 to 5)."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encodes preprocessed pixels, shape [b, 3, h, w]."""
        features, cam_features, logits = self.network(x)
        weights = self.network.classifier.weight[logits.topk(self.num_classes, dim=1).indices]
        cams = weights @ cam_features.flatten(2)
        has_evidence = cams.amax(2, keepdim=True) > 0
        low, high = cams.amin(2, keepdim=True), cams.amax(2, keepdim=True)
        cams = torch.where(has_evidence, (cams - low) / (high - low).clamp_min(1e-12), torch.zeros_like(cams))
        flat_features = features.flatten(2)
        vectors = cams @ flat_features.transpose(1, 2)
        active_shares = (flat_features > 0).float().mean(2)
        channel_weights = torch.log(active_shares.sum(1, keepdim=True) / active_shares.clamp_min(1e-12))
        vectors = vectors * torch.where(active_shares > 0, channel_weights, torch.zeros_like(channel_weights))[:, None]
        return functional.normalize(functional.normalize(vectors, dim=2).sum(1), dim=1)


def torch_call(
    module: nn.Module, inputs: np.ndarray, device: str, dtype: torch.dtype = torch.float32
) -> Callable[[], Any]:
    """Returns a function that runs a module once on ``inputs``, shape [b, h, w, 3], and returns the last result.

    The module is compiled if ``device`` is ``cuda``.
    """
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last).eval()
    x = torch.from_numpy(inputs.transpose(0, 3, 1, 2)).to(device=device, dtype=dtype)  # channels are last in memory
    run = torch.compile(module) if device == "cuda" else module

    def call() -> Any:
        with torch.inference_mode():
            outputs = run(x)
        return outputs if isinstance(outputs, torch.Tensor) else outputs[-1]

    return call


def onnx_call(module: nn.Module, inputs: np.ndarray) -> Callable[[], Any]:
    """Returns a function like `torch_call`, which uses ONNX Runtime with its default provider and threads."""
    x = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    stream = io.BytesIO()
    module = module.cpu().float().eval()
    with torch.inference_mode():
        torch.onnx.export(module, (torch.from_numpy(x),), stream, input_names=["x"], opset_version=17, dynamo=False)
    session = onnxruntime.InferenceSession(stream.getvalue(), providers=onnxruntime.get_available_providers())
    return lambda: session.run(None, {"x": x})[-1]


def operations(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Counts the operations of a pass on [b, h, w, 3] with PyTorch; a multiply-add is two operations."""
    from torch.utils.flop_counter import FlopCounterMode

    batch, height, width, channels = shape
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        module.to("meta")(torch.empty(batch, channels, height, width, device="meta"))
    return int(counter.get_total_flops())


def build(model: Model, num_classes: int | None = None) -> nn.Module:
    """Returns the peer of a model: its network, or with ``num_classes`` the whole encoding.

    Raises:
        KeyError: `NETWORKS` has no peer of the model's network.
    """
    network = NETWORKS[model.network.spec.name](model.params)
    return network if num_classes is None else Encoder(network, num_classes)


def versions() -> dict[str, str]:
    """Returns the versions of PyTorch and ONNX Runtime."""
    return {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
