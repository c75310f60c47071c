"""This module tests `convert` on files of other networks, damaged files and outputs that cannot be written."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from cwcf_jax import networks
from cwcf_jax.networks import CheckpointError, Preprocessing, definition, layers, layouts
from cwcf_jax.weights import convert
from cwcf_jax.weights.formats import FormatError
from tests.support.slow import cases
from tests.weights import foreign
from tests.weights.formats import mutations, writers


class FaultsTest(foreign.ConvertCase):
    def test_one_error_names_every_fault_by_its_key(self):
        state = foreign.reference("torch_squeezenet1_1")[0].as_state()
        state["features.3.squeeze.extra"] = state.pop("features.3.squeeze.weight")
        state["features.4.squeeze.weight"] = state["features.4.squeeze.weight"].transpose(1, 0, 2, 3)
        state["features.6.squeeze.weight"] = state["features.6.squeeze.weight"][:, :, 0]
        state["features.0.bias"] = np.where(np.arange(64) == 9, np.nan, state["features.0.bias"]).astype(np.float32)
        state["features.7.expand3x3.bias"] = np.full(128, 1e300)
        state["features.9.squeeze.bias"] = np.arange(48)
        state["features.10.squeeze.bias"] = np.zeros((), np.float32)
        state[0] = np.zeros(3, np.float32)
        file = self.folder / "weights.pth"
        writers.write_pth(file, state)
        message = self.assert_refused(CheckpointError, file, networks.get("squeezenet1_1"), self.output)
        faults = [line.strip() for line in message.splitlines()[1:]]
        expected = [
            "missing features.3.squeeze.weight, for fire2/squeeze1x1/kernel",
            "unmapped 0 (3,)",
            "unmapped features.3.squeeze.extra (16, 64, 1, 1)",
            "not finite features.0.bias",
            "mis-shaped features.10.squeeze.bias (): () for fire7/squeeze1x1/bias (48,)",
            "mis-shaped features.4.squeeze.weight (128, 16, 1, 1): (1, 1, 16, 128) for fire3/squeeze1x1/kernel "
            "(1, 1, 128, 16)",
            "mis-shaped features.6.squeeze.weight (32, 128, 1), for fire4/squeeze1x1/kernel: 3 axes instead of 4",
            "not finite features.7.expand3x3.bias",
            "not floating point features.9.squeeze.bias: int64",
        ]
        self.assertEqual(faults, expected)

    @parameterized.parameters(
        ("caffe_squeezenet1_1", "caffemodel", "vgg16_cam", "The file fits --network=squeezenet1_1"),
        ("torch_resnet50", "pth", "densenet161", "The file fits --network=resnet50"),
        ("caffe_vgg16_cam_grouped", "caffemodel", "vgg16_cam", "The file fits --network=vgg16_cam_grouped"),
        ("torch_vgg16", "safetensors", "vgg16_cam", "The layers before the head fit: --trunk"),
    )
    def test_file_of_another_network(self, name, writer, network, hint):
        file = self.write_weights(name, writer)
        message = self.assert_refused(CheckpointError, file, networks.get(network), self.output)
        self.assertIn(f"does not hold {network}:", message)
        self.assertIn(hint, message)

    def test_an_existing_output_is_not_changed(self):
        file = self.write_weights("caffe_squeezenet1_1", "npz_caffe")
        network = networks.get("squeezenet1_1")
        for output in (self.folder / "existing", self.folder / "existing.npz"):
            output.write_text("precious")
            message = self.assert_refused(FileExistsError, file, network, output)
            self.assertIn("exists already", message)
            self.assertEqual(output.read_text(), "precious")
        (self.folder / "folder").mkdir()
        self.assert_refused(FileExistsError, file, network, self.folder / "folder")

    def test_invalid_sources(self):
        network = networks.get("squeezenet1_1")
        self.assert_refused(FileNotFoundError, self.folder / "nowhere.pth", network, self.output)
        (self.folder / "page.pth").write_text("<!DOCTYPE html>")
        self.assertIn("web page", self.assert_refused(FormatError, self.folder / "page.pth", network, self.output))
        self.assertIn("directory", self.assert_refused(FormatError, self.folder, network, self.output))
        convert.convert(self.write_weights("caffe_squeezenet1_1", "npz_caffe"), network, self.folder / "own.npz")
        self.assertIn(
            "needs no conversion", self.assert_refused(FormatError, self.folder / "own.npz", network, self.output)
        )

    @parameterized.parameters(("out", "shutil.move"), ("out.npz", "os.replace"), ("out.npz", "numpy.savez"))
    def test_a_full_disk_leaves_nothing(self, output, function):
        file = self.write_weights("caffe_squeezenet1_1", "npz_caffe")
        with mock.patch(function, side_effect=OSError("no space left")):
            message = self.assert_refused(OSError, file, networks.get("squeezenet1_1"), self.folder / output)
        self.assertEqual(message, "no space left")


class Tiny(nnx.Module):
    def __init__(self, rngs, *, num_labels):
        self.conv1 = layers.Conv(3, 5, 3, rngs=rngs)
        self.conv2 = layers.Conv(5, 7, 1, rngs=rngs)
        self.classifier = layers.Dense(7, num_labels, rngs=rngs)

    def __call__(self, inputs, sizes):
        maps = layers.conv_relu(self.conv2, layers.conv_relu(self.conv1, inputs, sizes), sizes)
        return self.classifier(layers.mean_pool(maps, sizes)), {"conv2": maps}


DAMAGED_COPIES = cases(14, 40)
"""The number of damaged copies of a file."""

NAMES = {name: name for name in ("conv1", "conv2")}
PREPROCESSING = Preprocessing("RGB", (0.0, 0.0, 0.0))


def _tiny_sizes(sizes):
    return {"conv2": sizes}


def _tiny_layouts():
    torch = layouts.torch(NAMES, bias=False) | layouts.torch_norm({"bn1": "conv1", "bn2": "conv2"})
    return (
        networks.WeightLayout(
            "caffe", layouts.caffe(NAMES | {"classifier": "classifier"}, classifiers=["classifier"]), PREPROCESSING
        ),
        networks.WeightLayout("keras", layouts.keras(NAMES | {"classifier": "classifier"}), PREPROCESSING),
        networks.WeightLayout(
            "keras, Theano order", layouts.keras(NAMES | {"classifier": "classifier"}), PREPROCESSING
        ),
        networks.WeightLayout(
            "torchvision",
            torch | layouts.torch({"classifier": "classifier"}, transform=layouts.dense),
            PREPROCESSING,
            ("bn3.*",),
        ),
    )


def _tiny():
    layer = networks.Layer("conv2", 7, 1)
    spec = networks.NetworkSpec(
        "tiny", (layer,), "conv2", layer, "classifier", ("classifier",), PREPROCESSING, 4, ("a", "b", "c", "d")
    )
    return definition.define_network(spec, Tiny, _tiny_sizes, _tiny_layouts)


class HostileTest(foreign.ConvertCase):
    """`HostileTest` converts damaged files: each is refused by name, or gives a checkpoint of finite parameters."""

    def arrays(self):
        generator = np.random.default_rng(0)
        shapes = {"conv1": (5, 3, 3, 3), "conv2": (7, 5, 1, 1), "classifier": (4, 7)}
        draw = lambda shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
        return {name: (draw(shape), draw(shape[0])) for name, shape in shapes.items()}

    def torch_state(self):
        state = {}
        for name, (kernel, bias) in self.arrays().items():
            state[f"{name}.weight"] = kernel
            if name == "classifier":
                state[f"{name}.bias"] = bias
            else:
                norm = name.replace("conv", "bn")
                state |= {f"{norm}.{part}": np.abs(bias) for part in ("weight", "bias", "running_mean", "running_var")}
        return state

    def write(self, path):
        arrays = self.arrays()
        if path.suffix == ".caffemodel":
            layer_types = {"classifier": "InnerProduct"}
            blobs = [(name, layer_types.get(name, "Convolution"), pair) for name, pair in arrays.items()]
            writers.write_caffemodel(path, blobs)
        elif path.suffix == ".h5":
            theano = {name: (w.T if w.ndim == 2 else w.transpose(2, 3, 1, 0), b) for name, (w, b) in arrays.items()}
            writers.write_keras(path, theano, order="theano", layout="keras1")
        elif path.suffix == ".pth":
            writers.write_pth(path, self.torch_state())
        elif path.suffix == ".safetensors":
            writers.write_safetensors(path, self.torch_state())
        else:
            np.savez(path, **self.torch_state())

    @parameterized.parameters("tensorflow", "theano", "theano_unrotated")
    def test_kernel_order_chooses_between_layouts_of_the_same_names(self, order):
        """Tests a case of VGG-16, where Theano flattens the input of the first dense layer in another order."""
        file = self.folder / "weights.h5"
        self.write(file)
        kernel_order = None if order == "theano" else order
        if order == "tensorflow":
            arrays = self.arrays()
            keras = {name: (w.T if w.ndim == 2 else w.transpose(2, 3, 1, 0), b) for name, (w, b) in arrays.items()}
            writers.write_keras(file, keras)
        record = convert.convert(file, _tiny(), self.output, kernel_order=kernel_order)
        self.assertEqual(record.layout, "keras" if order == "tensorflow" else "keras, Theano order")
        self.assertEqual(record.notes["kernel_order"], order)
        self.assertEqual((record.num_classes, record.class_names), (4, ("a", "b", "c", "d")))
        kernel = networks.load_params(_tiny(), self.output)["conv1"]["kernel"]
        expected = self.arrays()["conv1"][0].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(kernel, expected[::-1, ::-1] if order == "theano_unrotated" else expected)

    @parameterized.parameters(".caffemodel", ".h5", ".pth", ".safetensors", ".npz")
    def test_damaged_files(self, suffix):
        network = _tiny()
        intact = self.folder / f"intact{suffix}"
        self.write(intact)
        convert.convert(intact, network, self.output)  # an Orbax checkpoint, unlike the outputs below
        expected = networks.load_params(network, self.output)
        accepted = 0
        for number, content in enumerate(mutations.mutations(intact.read_bytes(), DAMAGED_COPIES, seed=11)):
            file = self.folder / f"damaged_{number}{suffix}"
            file.write_bytes(content)
            output = self.folder / f"{number}.npz"
            files = sorted(self.folder.rglob("*"))
            try:
                convert.convert(file, network, output)
            except (FormatError, CheckpointError) as error:
                self.assertIn(str(file), str(error))
                self.assertEqual(sorted(self.folder.rglob("*")), files)
                continue
            accepted += 1
            self.assertEqual(networks.read_provenance(output).network, "tiny")
            actual = networks.load_params(network, output)
            for leaf, expected_leaf in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
                self.assertEqual(leaf.shape, expected_leaf.shape)
                self.assertTrue(bool(jnp.isfinite(leaf).all()))
        self.assertLess(accepted, 0.75 * DAMAGED_COPIES)


if __name__ == "__main__":
    absltest.main()
