import pathlib
import time
import tracemalloc

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError
from tests.support import shared
from tests.support.packages import package
from tests.support.slow import cases
from tests.weights.formats import writers
from tests.weights.formats.mutations import mutations, survive

DAMAGED_COPIES = cases(60, 250)
"""The number of damaged copies of a file."""

PROTOTXT = """
input: "data" input_shape { dim: 1 dim: 4 dim: 6 dim: 7 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 group: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 5 } }
"""


def _layers(seed=0):
    draw = lambda *shape: np.random.default_rng(seed + len(shape)).normal(size=shape).astype(np.float32)  # noqa: E731
    return [
        ("conv1", "Convolution", [draw(6, 2, 3, 5), draw(6)]),  # 4 input channels in 2 groups
        ("relu1", "ReLU", []),
        ("fc", "InnerProduct", [draw(5, 72), draw(5)]),
    ]


def _message(number, content):
    """Encodes a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded + bytes([value]))


def _net(blob, layer_type=b"Convolution", name=b"conv"):
    """Encodes a network of one layer with one blob, whose bytes are ``blob``."""
    return _message(100, _message(1, name) + _message(2, layer_type) + _message(7, blob))


def _shape(*dims):
    return _message(7, _message(1, b"".join(map(_varint, dims))))


class CaffemodelTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path) / "net.caffemodel"

    def _read(self, content=None):
        if content is not None:
            self.file.write_bytes(content)
        return formats.read(self.file)

    def _check(self, source, layers):
        expected = {f"{name}/{'Wb'[i]}": blob for name, _, blobs in layers for i, blob in enumerate(blobs)}
        self.assertEqual(source.arrays.keys(), expected.keys())
        for key, array in expected.items():
            np.testing.assert_array_equal(source.arrays[key], array, strict=True)
            self.assertFalse(source.arrays[key].flags.writeable)

    @parameterized.product(form=("new", "v1", "v0"), packed=(True, False))
    def test_round_trip(self, form, packed):
        writers.write_caffemodel(self.file, _layers(), form, packed)
        source = self._read()
        self._check(source, _layers())
        self.assertEqual(source.format, "caffe")
        self.assertEqual(source.notes, {"form": form, "name": "written by a test"})

    @parameterized.parameters("new", "v1")
    def test_opencv_reads_the_same(self, form):
        cv2 = package("cv2")
        writers.write_caffemodel(self.file, _layers(), form)
        prototxt = self.file.with_suffix(".prototxt")
        prototxt.write_text(PROTOTXT)
        net = cv2.dnn.readNetFromCaffe(str(prototxt), str(self.file))
        for key, array in self._read().arrays.items():
            layer, part = key.split("/")
            blob = net.getParam(layer, "Wb".index(part))
            np.testing.assert_array_equal(blob.reshape(array.shape), array)

    def test_round_trip_of_a_released_network(self):
        released = formats.read(shared.require("weights/squeezenet_v1.1.npz")).arrays
        layers = [
            (key.removesuffix("/W"), "Convolution", [array, released[key.removesuffix("W") + "b"]])
            for key, array in released.items()
            if key.endswith("/W")
        ]
        writers.write_caffemodel(self.file, layers, "v1")
        self._check(self._read(), layers)

    def test_double_precision_and_further_blobs(self):
        blobs = [np.arange(6.0).reshape(2, 3), np.arange(2.0), np.arange(3.0)]
        writers.write_caffemodel(self.file, [("bn", "BatchNorm", blobs)])
        arrays = self._read().arrays
        self.assertEqual(list(arrays), ["bn/W", "bn/b", "bn/2"])
        np.testing.assert_array_equal(arrays["bn/2"], blobs[2], strict=True)

    def test_padded_shapes_depend_on_the_type_of_the_layer(self):
        ones = np.ones((1, 1, 3, 5), np.float32)
        layers = [("conv", "Convolution", [ones]), ("fc", "InnerProduct", [ones])]
        for form in ("v1", "new"):
            writers.write_caffemodel(self.file, layers, form)
            arrays = self._read().arrays
            self.assertEqual(arrays["conv/W"].shape, (1, 1, 3, 5))
            self.assertEqual(arrays["fc/W"].shape, (3, 5))
        writers.write_caffemodel(self.file, [("scale", "Scale", [ones])])
        self.assertEqual(self._read().arrays["scale/W"].shape, (1, 1, 3, 5))
        writers.write_caffemodel(self.file, [("fc", "InnerProduct", [ones.transpose(2, 3, 0, 1)])], "v1")
        with self.assertRaisesRegex(FormatError, "net.caffemodel: fc/W is 3x5x1x1, no shape that Caffe gives it"):
            self._read()

    def test_layers_with_the_same_name(self):
        conv, _, fc = _layers()
        writers.write_caffemodel(self.file, [conv, (conv[0], "Convolution", []), fc])
        self._check(self._read(), [conv, fc])
        writers.write_caffemodel(self.file, [conv, fc, conv])
        with self.assertRaisesRegex(FormatError, "two layers conv1 have weights"):
            self._read()

    def test_values_in_several_pieces(self):
        values = np.arange(1, 9, dtype="<f4")
        single = b"".join(b"\x2d" + value.tobytes() for value in values[3:6])
        pieces = _message(5, values[:3].tobytes()) + single + _shape(2, 4) + _message(5, values[6:].tobytes())
        arrays = self._read(_net(_message(6, b"diff is ignored.") + pieces)).arrays
        np.testing.assert_array_equal(arrays["conv/W"], values.reshape(2, 4))

    @parameterized.named_parameters(
        ("two shapes", _shape(2, 2) + b"\x08\x04" + _message(5, bytes(16)), "two shapes that contradict"),
        ("too few values", _shape(2, 3) + _message(5, bytes(20)), "has 5 values, not as many as its shape"),
        ("no values", _shape(2, 3), "has 0 values"),
        ("huge shape", _shape(2**40, 2**40) + _message(5, bytes(20)), "has 5 values"),
        ("negative shape", _shape(2**64 - 2, 2**64 - 2) + _message(5, bytes(16)), "a negative dimension"),
        ("many dimensions", _shape(*[1] * 40) + _message(5, bytes(4)), "more than 16"),
        ("both precisions", _shape(1) + _message(5, bytes(4)) + _message(8, bytes(8)), "single and double"),
        ("half a value", _shape(1) + _message(5, bytes(5)), "no message of Caffe's"),
        ("a varint as value", _shape(1) + b"\x28\x01", "has 0 values"),
    )
    def test_broken_blobs(self, blob, message):
        with self.assertRaisesRegex(FormatError, message):
            self._read(_net(blob))

    @parameterized.named_parameters(
        ("cut off", _net(_shape(1) + _message(5, bytes(4)))[:-1], "damaged or was cut off"),
        ("group", b"\x0b\x14", "no message of Caffe's"),
        ("endless number", b"\xff" * 30, "no message of Caffe's"),
        ("no weights", _message(1, b"name"), "holds no weights"),
        ("text", b'name: "GoogLeNet"\nlayer {', "network description .* its .caffemodel is needed"),
        ("no name", _net(_shape(1) + _message(5, bytes(4)), name=b""), "name of a layer is empty"),
        ("binary name", _net(_shape(1) + _message(5, bytes(4)), name=b"\xff\0"), "name of a layer is not text"),
        ("many layers", b"\xa2\x06\0" * 50_001, "more layers than any network"),
        ("many blobs", _message(100, _message(1, b"a") + b"\x3a\0" * 50_001), "more arrays than any network"),
    )
    def test_broken_files(self, content, message):
        with self.assertRaisesRegex(FormatError, message):
            self._read(content)

    def test_alternating_tags_take_no_longer(self):
        blob = (b"\x2d" + bytes(4) + b"\x08\x01") * 200_000
        started = time.perf_counter()
        with self.assertRaisesRegex(FormatError, "has 200000 values"):
            self._read(_net(blob))
        self.assertLess(time.perf_counter() - started, 10)

    @parameterized.parameters((True, 3.5), (False, 4.0))
    def test_memory(self, packed, limit):
        array = np.random.default_rng(0).normal(size=(200, 100, 10, 10)).astype(np.float32)
        writers.write_caffemodel(self.file, [("conv", "Convolution", [array])], packed=packed)
        size = self.file.stat().st_size
        tracemalloc.start()
        actual = self._read().arrays["conv/W"]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        np.testing.assert_array_equal(actual, array)
        self.assertLess(peak, limit * size)

    @parameterized.product(form=("new", "v1", "v0"), packed=(True, False))
    def test_damaged_files(self, form, packed):
        writers.write_caffemodel(self.file, _layers(), form, packed)
        content = self.file.read_bytes()
        copies = mutations(content, DAMAGED_COPIES, seed=len(form) + packed)
        survey = survive(lambda path: formats.read(path).arrays, self.file, copies, FormatError)
        self.assertGreater(survey.refused, 0.24 * DAMAGED_COPIES)
        self.assertLess(survey.seconds, 5)
        self.assertLess(survey.peak, 2 * len(content) + 2_000_000)


if __name__ == "__main__":
    absltest.main()
