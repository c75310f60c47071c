import importlib.util
import json
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError, keras
from tests.support import shared
from tests.support.packages import package
from tests.support.slow import cases
from tests.weights.formats import writers
from tests.weights.formats.mutations import mutations, survive

DAMAGED_COPIES = cases(60, 250)
"""The number of damaged copies of a file."""

FORKS_PROGRAM = pathlib.Path(__file__).with_name("forks.py")


def _layers(seed=0, channels=5):
    draw = np.random.default_rng(seed).normal
    layers = {
        "conv1": [draw(size=(3, 3, channels, 7)), draw(size=7)],
        "pool1": [],
        "block/conv2": [draw(size=(1, 1, 7, 4)), draw(size=4)],
        "dense": [draw(size=(4, 9)), draw(size=9)],
    }
    return {name: [array.astype(np.float32) for array in arrays] for name, arrays in layers.items()}


class KerasTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.h5py = package("h5py")
        self.file = pathlib.Path(self.create_tempdir().full_path) / "net.h5"

    def _check(self, arrays, layers, names=None):
        expected = {
            f"{(names or {}).get(layer, layer)}/{part}": array
            for layer, weights in layers.items()
            for part, array in zip(("kernel", "bias"), weights, strict=False)
        }
        self.assertEqual(arrays.keys(), expected.keys())
        for key, array in expected.items():
            np.testing.assert_array_equal(arrays[key], array, strict=True)
            self.assertFalse(arrays[key].flags.writeable)

    def _assert_refused(self, message, **options):
        with self.assertRaisesRegex(FormatError, f"^{self.file}: .*{message}"):
            formats.read(self.file, **options)

    @parameterized.parameters(
        ("keras1", "tensorflow", None),
        ("keras1", "theano", None),
        ("keras1", "theano_unrotated", "theano_unrotated"),
        ("keras1", "tensorflow_rotated", "tensorflow_rotated"),
        ("keras2", "tensorflow", None),
        ("keras2", "tensorflow_rotated", None),
        ("keras2", "theano_unrotated", "theano_unrotated"),
        ("keras2_model", "tensorflow", None),
    )
    def test_round_trip(self, layout, order, kernel_order):
        writers.write_keras(self.file, _layers(), order, layout)
        source = formats.read(self.file, kernel_order=kernel_order)
        self._check(source.arrays, _layers())
        self.assertEqual((source.format, source.notes["kernel_order"]), ("keras", order))
        self.assertEqual(source.notes.get("keras_version"), "2.0.0" if layout != "keras1" else None)

    @parameterized.parameters("tensorflow", "theano")
    def test_numbered_layers_of_keras_0(self, order):
        writers.write_keras(self.file, _layers(), order, "keras0")
        names = {name: f"layer_{index}" for index, name in enumerate(_layers())}
        self._check(formats.read(self.file).arrays, _layers(), names)

    def test_keras_3(self):
        file = self.file.with_suffix(".weights.h5")
        writers.write_keras(file, _layers(), layout="keras3")
        self._check(formats.read(file).arrays, _layers())

    def test_a_released_network(self):
        source = formats.read(shared.require("weights/squeezenet_v1.1_keras_notop.h5"))
        caffe = formats.read(shared.require("weights/squeezenet_v1.1.npz")).arrays
        self.assertLen(source.arrays, 50)
        for key, array in source.arrays.items():
            layer, _, part = key.rpartition("/")
            expected = caffe[f"{layer}/W"].transpose(2, 3, 1, 0) if part == "kernel" else caffe[f"{layer}/b"]
            np.testing.assert_array_equal(array, expected, strict=True)
        self.assertEqual(source.notes["kernel_order"], "tensorflow")

    def test_weights_with_their_own_names(self):
        layers = {
            "norm": [np.full(3, float(i)) for i in range(4)],
            "plain_norm": [np.zeros(3), np.ones(3)],
            "nested": [np.zeros((2, 3)), np.zeros(3), np.ones((3, 4)), np.ones(4)],
            "conv": [np.zeros((3, 3, 2, 5))],
        }
        names = {
            "norm": ("gamma", "beta", "moving_mean", "moving_variance"),
            "plain_norm": ("moving_mean", "moving_variance"),
            "nested": ("a/kernel", "a/bias", "b/kernel", "b/bias"),
        }
        writers.write_keras(self.file, layers, names=names)
        keys = [f"norm/{name}" for name in names["norm"]] + [f"plain_norm/{name}" for name in names["plain_norm"]]
        keys += [f"nested/nested_1/{name}" for name in names["nested"]] + ["conv/kernel"]
        self.assertEqual(list(formats.read(self.file).arrays), keys)

    def test_ambiguous_orders(self):
        ambiguous = {"conv": [np.zeros((3, 3, 3, 3), np.float32), np.zeros(3, np.float32)]}
        writers.write_keras(self.file, ambiguous, layout="keras1")
        self._assert_refused("are possible in both.*--kernel_order, one of tensorflow, ")
        with self.h5py.File(self.file, "a") as file:
            file["conv/conv_W"][...] = np.arange(81).reshape(3, 3, 3, 3)
        kernel = np.arange(81).reshape(3, 3, 3, 3)
        for order, expected in (
            ("tensorflow", kernel),
            ("tensorflow_rotated", kernel[::-1, ::-1]),
            ("theano_unrotated", kernel.transpose(2, 3, 1, 0)),
            ("theano", kernel[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)),
        ):
            source = formats.read(self.file, kernel_order=order)
            np.testing.assert_array_equal(source.arrays["conv/kernel"], expected)
            self.assertEqual(source.notes["kernel_order"], order)
        self._assert_refused("must be one of tensorflow, .*not 'caffe'", kernel_order="caffe")

    def test_orders_that_contradict_each_other(self):
        mixed = {
            "first": [np.zeros((3, 3, 16, 40)), np.zeros(40)],
            "second": [np.zeros((48, 40, 3, 3)), np.zeros(48)],
        }
        writers.write_keras(self.file, mixed, layout="keras1")
        self._assert_refused("contradict each other.*--kernel_order")
        writers.write_keras(self.file, {"first": mixed["second"]})
        self._assert_refused("made with tensorflow.*--kernel_order=theano_unrotated")

    def test_biases_and_oblong_kernels_determine_the_order(self):
        for weights in (
            [np.zeros((3, 3, 3, 5)), np.zeros(5)],
            [np.zeros((1, 7, 7, 5)), np.zeros(5)],
            [np.zeros((7, 1, 12, 40))],
            [np.zeros((3, 3, 4, 5))],
        ):
            for order in ("tensorflow", "theano"):
                writers.write_keras(self.file, {"conv": weights}, order, "keras1")
                source = formats.read(self.file)
                self.assertEqual(source.notes["kernel_order"], order, weights[0].shape)
                self.assertEqual(source.arrays["conv/kernel"].shape, weights[0].shape)

    def _write_with_kernel(self, write_kernel):
        writers.write_keras(self.file, _layers())
        with self.h5py.File(self.file, "a") as file:
            group = file["dense/dense_1"]
            if "kernel:0" in group:
                del group["kernel:0"]
            write_kernel(group)

    def test_nothing_outside_the_file_is_read(self):
        other = self.file.with_name("secret.h5")
        with self.h5py.File(other, "w") as file:
            file["secret"] = np.zeros((4, 9))
        raw = self.file.with_name("secret.bin")
        raw.write_bytes(bytes(288))

        def external(group):
            group["kernel:0"] = self.h5py.ExternalLink(str(other), "secret")

        def soft(group):
            group["kernel:0"] = self.h5py.SoftLink("/conv1")

        def storage(group):
            group.create_dataset("kernel:0", (4, 9), "<f8", external=[(str(raw), 0, 288)])

        def virtual(group):
            layout = self.h5py.VirtualLayout((4, 9), "<f8")
            layout[...] = self.h5py.VirtualSource(str(other), "secret", (4, 9))
            group.create_virtual_dataset("kernel:0", layout)

        for write_kernel, message in (
            (external, "is a link, perhaps to another file"),
            (soft, "is a link"),
            (storage, "are in another file, which is not read"),
            (virtual, "are in another file, which is not read"),
        ):
            self._write_with_kernel(write_kernel)
            self._assert_refused(message)

    def test_the_child_cannot_open_other_files(self):
        program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("child", {str(keras.CHILD_PROGRAM)!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
child.limit_resources(0)
child.forbid_file_access()
try:
    open({str(keras.CHILD_PROGRAM)!r})
except OSError as error:
    print(error.errno)
"""
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(process.stdout, "24\n")  # EMFILE

    @parameterized.named_parameters(
        ("chunks", dict(dtype="f4", chunks=(2, 2)), "chunked or compressed.*h5repack"),
        ("gzip", dict(dtype="f4", compression="gzip"), "chunked or compressed.*h5repack"),
        ("integers", dict(dtype="S4"), "no type of numbers"),
        ("complex", dict(dtype="<c8"), "no type of numbers"),
    )
    def test_datasets_that_are_not_read(self, options, message):
        self._write_with_kernel(lambda group: group.create_dataset("kernel:0", (4, 9), **options))
        self._assert_refused(message)

    def test_declared_sizes_are_not_allocated(self):
        self._write_with_kernel(lambda group: group.create_dataset("kernel:0", (1 << 20, 1 << 20), "<f4"))
        self._assert_refused("has no values")

    def test_other_hdf5_files(self):
        with self.h5py.File(self.file, "w") as file:
            file["data"] = np.zeros(3)
        self._assert_refused("neither layer_names nor layers")
        writers.write_keras(self.file, {"pool": []})
        self._assert_refused("holds no weights")
        self._write_with_kernel(lambda _: None)
        self._assert_refused("it has no dense_1/kernel:0")

    def test_without_h5py(self):
        writers.write_keras(self.file, _layers())
        with (
            mock.patch.object(importlib.util, "find_spec", return_value=None),
            self.assertRaisesRegex(ImportError, r"pip install 'cwcf-jax\[weights\]'"),
        ):
            formats.read(self.file)

    def test_crashes_and_time_limits_of_the_library(self):
        writers.write_keras(self.file, _layers())
        crash, loop = self.file.with_name("crash.py"), self.file.with_name("loop.py")
        crash.write_text("import os; os.abort()")
        loop.write_text("import time; time.sleep(60)")
        with mock.patch.object(keras, "CHILD_PROGRAM", crash):
            self._assert_refused(r"the HDF5 library crashed on it \(signal 6\)")
        spin = self.file.with_name("spin.py")
        spin.write_text("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass")
        with mock.patch.object(keras, "CHILD_PROGRAM", spin):
            self._assert_refused("the HDF5 library reached its limit of computing time on it")
        with mock.patch.object(keras, "CHILD_PROGRAM", loop), mock.patch.object(keras, "TIMEOUT_S", 0.5):
            self._assert_refused("did not finish with it")
        with mock.patch.object(keras, "CHILD_PROGRAM", self.file.with_name("nowhere.py")):
            self._assert_refused("failed on it")

    @parameterized.parameters("keras0", "keras1", "keras2", "keras3")
    def test_damaged_files(self, layout):
        """Runs the child in forks of one process, and parses the answers in this process."""
        writers.write_keras(self.file, _layers(), layout=layout)
        content = self.file.read_bytes()
        copies = list(mutations(content, DAMAGED_COPIES, seed=int(layout[-1])))
        files = [self.file.with_name(f"{number}.h5") for number in range(len(copies))]
        for file, copy in zip(files, copies, strict=True):
            file.write_bytes(copy)
        process = subprocess.run(
            [sys.executable, "-P", str(FORKS_PROGRAM), str(keras.CHILD_PROGRAM), *map(str, files)],
            capture_output=True,
            check=True,
        )
        answers = [json.loads(line) for line in process.stdout.splitlines()]
        self.assertLen(answers, len(copies))
        crashes = [code for code, *_ in answers if code]
        print(
            f"{layout}: killed {crashes}, slowest {max(a[1] for a in answers):.2f} s, {max(a[2] for a in answers)} KiB"
        )
        self.assertLess(max(answer[2] for answer in answers), 400_000)
        remaining = iter(answers)

        def run_child(_):
            code, _, _, output = next(remaining)
            return keras.parse_answer(code, output.encode("latin-1"), b"")

        with mock.patch.object(keras, "run_child", run_child):
            have_magic = [copy.startswith(keras.HDF5_MAGIC) for copy in copies]
            self.assertLess(have_magic.count(False), 0.24 * DAMAGED_COPIES)
            remaining = iter([answer for answer, has_magic in zip(answers, have_magic, strict=True) if has_magic])
            survey = survive(lambda path: formats.read(path).arrays, self.file, copies, FormatError)
        self.assertGreater(survey.refused, 0.32 * DAMAGED_COPIES)
        self.assertLess(survey.seconds, 2)
        self.assertLess(survey.peak, 2 * len(content) + 2_000_000)

    def test_files_that_crash_the_library(self):
        """Reads copies on which h5py 3.16, in this order, read wildly, crashed, did not end, and allocated 3 GB."""
        writers.write_keras(self.file, _layers(), layout="keras2")
        copies = list(mutations(self.file.read_bytes(), 815, seed=77))
        worst = [copies[number] for number in (68, 347, 608, 814)]
        survey = survive(lambda path: formats.read(path).arrays, self.file, worst, FormatError)
        self.assertLess(survey.seconds, 30)
        self.assertLess(survey.peak, 2_000_000)

    def test_damaged_files_from_end_to_end(self):
        writers.write_keras(self.file, _layers())
        copies = mutations(self.file.read_bytes(), 14, seed=5)
        survey = survive(lambda path: formats.read(path).arrays, self.file, copies, FormatError)
        self.assertGreater(survey.refused, 4)


if __name__ == "__main__":
    absltest.main()
