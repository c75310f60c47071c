"""This module writes random weights of every network in the formats of other frameworks, with reference outputs."""

import functools
import pathlib
import re

import numpy as np
from absl.testing import parameterized

from cwcf_jax.weights import convert
from tests.networks import torch_oracles
from tests.weights.formats import writers

VGG = ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
CAFFE = ("BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
TORCHVISION = ("RGB", (0.485 * 255, 0.456 * 255, 0.406 * 255), (1 / 0.229 / 255, 1 / 0.224 / 255, 1 / 0.225 / 255))
LITE = ("RGB", (127.0, 127.0, 127.0), (1 / 128, 1 / 128, 1 / 128))
HEAD = ("CAM_conv", "CAM_fc")
AUTHORS_HEAD = ("CAM_relu", "dense_1")

FOREIGN = {  # forward pass, form of the kernels, (height, width, standard deviation) of the input
    "caffe_vgg16_cam_grouped": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.CAFFE, cam=HEAD, groups=2),
        "torch",
        (35, 50, 60.0),
    ),
    "keras_vgg16_cam": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.AUTHORS, cam=AUTHORS_HEAD),
        "keras",
        (35, 50, 60.0),
    ),
    "theano_vgg16_cam": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.AUTHORS, cam=AUTHORS_HEAD),
        "theano",
        (35, 50, 60.0),
    ),
    "keras_vgg16": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.APPLICATIONS),
        "keras",
        (35, 50, 60.0),
    ),
    "theano_vgg16": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.APPLICATIONS),
        "theano",
        (35, 50, 60.0),
    ),
    "torch_vgg16": (functools.partial(torch_oracles.vgg16, names=torch_oracles.TORCHVISION), "torch", (35, 50, 1.0)),
    "caffe_googlenet": (torch_oracles.googlenet, "torch", (75, 101, 60.0)),
    "caffe_googlenet_cam": (functools.partial(torch_oracles.googlenet, cam=True), "torch", (75, 101, 60.0)),
    "caffe_squeezenet1_1": (torch_oracles.squeezenet, "torch", (75, 101, 60.0)),
    "keras_squeezenet1_1": (torch_oracles.squeezenet, "keras", (75, 101, 60.0)),
    "torch_squeezenet1_1": (torch_oracles.squeezenet_torchvision, "torch", (75, 101, 1.0)),
    "torch_resnet50": (torch_oracles.resnet50, "torch", (75, 101, 1.0)),
    "torch_densenet161": (torch_oracles.densenet161, "torch", (75, 101, 1.0)),
    "torch_efficientnet_lite0": (torch_oracles.efficientnet_lite0, "torch", (75, 101, 1.0)),
}
AUXILIARY = [  # the file of bvlc_googlenet has the auxiliary classifiers of the training
    ("loss1/conv", "Convolution", [np.ones((4, 5, 1, 1), np.float32), np.ones(4, np.float32)]),
    ("loss2/classifier", "InnerProduct", [np.ones((3, 4), np.float32), np.ones(3, np.float32)]),
]


@functools.cache
def reference(name):
    """Returns random foreign weights, an input, and the resulting logits and maps in float64."""
    network, form, (height, width, scale) = FOREIGN[name]
    weights = torch_oracles.Weights(sorted(FOREIGN).index(name), form)
    inputs = np.random.default_rng(0).normal(size=(1, height, width, 3), scale=scale).astype(np.float32)
    return weights, inputs, *torch_oracles.forward(network, weights, inputs)


def _keras(layout):
    def write(path, weights):
        writers.write_keras(path, {name: arrays for name, _, arrays in weights.as_layers()}, layout=layout)

    return write


def _session(path, weights):
    """Writes layers under the names that Keras 1 gives to the second model of a session."""

    def rename(name):
        name = re.sub(r"(?<=convolution2d_)\d+", lambda match: str(int(match[0]) + 13), name)
        return name.replace("dense_1", "dense_4")

    writers.write_keras(path, {rename(name): arrays for name, _, arrays in weights.as_layers()}, layout="keras1")


def _older_names(path, weights):
    """Writes names as in densenet161-8d451a50.pth: ``norm.1`` for ``norm1``, and no counters."""
    state = weights.as_state().items()
    renamed = {
        re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", key): array for key, array in state if "num_batches" not in key
    }
    writers.write_pth(path, renamed, legacy=True)


WRITERS = {
    "caffemodel": lambda path, weights: writers.write_caffemodel(path, weights.as_layers()),
    "caffemodel_auxiliary": lambda path, weights: writers.write_caffemodel(path, weights.as_layers() + AUXILIARY),
    "caffemodel_v1": lambda path, weights: writers.write_caffemodel(path, weights.as_layers(), "v1"),
    "h5_keras1": _keras("keras1"),
    "h5_keras1_session": _session,
    "h5_keras2": _keras("keras2"),
    "pth": lambda path, weights: writers.write_pth(path, weights.as_state()),
    "pth_legacy": lambda path, weights: writers.write_pth(path, weights.as_state(), legacy=True),
    "pth_older": _older_names,
    "safetensors": lambda path, weights: writers.write_safetensors(path, weights.as_state()),
    "npz": lambda path, weights: np.savez(path, **weights.as_state()),
    "npz_caffe": lambda path, weights: np.savez(
        path,
        **{
            f"{name}/{part}": array
            for name, _, arrays in weights.as_layers()
            for part, array in zip("Wb", arrays, strict=True)
        },
    ),
}

WHOLE = (  # foreign weights, writer, network, layout in the record, preprocessing in the record
    ("caffe_vgg16_cam_grouped", "caffemodel", "vgg16_cam_grouped", "caffe", VGG),
    ("caffe_vgg16_cam_grouped", "caffemodel_v1", "vgg16_cam_grouped", "caffe", VGG),
    ("theano_vgg16_cam", "h5_keras1", "vgg16_cam", "keras, unnamed layers", VGG),
    ("keras_vgg16_cam", "h5_keras1_session", "vgg16_cam", "keras, unnamed layers", VGG),
    ("caffe_googlenet", "caffemodel_auxiliary", "googlenet", "caffe", CAFFE),
    ("caffe_googlenet", "caffemodel_v1", "googlenet", "caffe", CAFFE),
    ("caffe_googlenet_cam", "caffemodel", "googlenet_cam", "caffe", CAFFE),
    ("caffe_googlenet_cam", "caffemodel_v1", "googlenet_cam", "caffe", CAFFE),
    ("caffe_googlenet_cam", "npz_caffe", "googlenet_cam", "caffe", CAFFE),
    ("caffe_squeezenet1_1", "caffemodel", "squeezenet1_1", "caffe", CAFFE),
    ("caffe_squeezenet1_1", "caffemodel_v1", "squeezenet1_1", "caffe", CAFFE),
    ("keras_squeezenet1_1", "h5_keras2", "squeezenet1_1", "keras", CAFFE),
    ("torch_squeezenet1_1", "pth", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "pth_legacy", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "safetensors", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "npz", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_resnet50", "pth", "resnet50", "torchvision", TORCHVISION),
    ("torch_resnet50", "pth_legacy", "resnet50", "torchvision", TORCHVISION),
    ("torch_resnet50", "safetensors", "resnet50", "torchvision", TORCHVISION),
    ("torch_densenet161", "pth", "densenet161", "torchvision", TORCHVISION),
    ("torch_efficientnet_lite0", "pth", "efficientnet_lite0", "torch", LITE),
    ("torch_densenet161", "pth_older", "densenet161", "torchvision, older names", TORCHVISION),
)
TRUNKS = (
    ("keras_vgg16", "h5_keras2", "keras"),
    ("theano_vgg16", "h5_keras1", "keras"),
    ("torch_vgg16", "pth", "torchvision"),
    ("caffe_vgg16_cam_grouped", "caffemodel", "caffe"),
)


class ConvertCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.output = self.folder / "out" / "checkpoint"

    def write_weights(self, name, writer):
        path = self.folder / f"weights.{writer.split('_')[0]}"
        WRITERS[writer](path, reference(name)[0])
        return path

    def assert_refused(self, error, *arguments, **options):
        """Checks that `convert` raises ``error`` and leaves no files; returns the message."""
        files = sorted(self.folder.rglob("*"))
        with self.assertRaises(error) as context:
            convert.convert(*arguments, **options)
        self.assertEqual(sorted(self.folder.rglob("*")), files)
        return str(context.exception)
