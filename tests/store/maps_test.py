import itertools
import json
import pathlib
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cwcf_jax.arrays import quantize
from cwcf_jax.store import MapStore, StaleStoreError, StoreBusyError
from cwcf_jax.store import maps as maps_module
from tests.support import shared

LENGTH = 5
FINGERPRINT = {"weights": "abc", "preprocessing": {"resize": "min720"}}

KILLED = """
import os, signal, sys
import numpy as np
from cwcf_jax.store import MapStore

savez = np.savez

def write_half(stream, **arrays):
    stream.write(b"half of it")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

with MapStore.exclusive(sys.argv[1], {}) as store:
    store.write(0, features=np.ones((2, 3, 4)))
    np.savez = write_half
    store.write(1, features=np.ones((2, 3, 4)))
"""


def make_maps(seed, shape=(3, 4)):
    """Draws float16 maps of two layers with different shapes."""
    random = np.random.default_rng(seed)
    shapes = {"features": (*shape, 5), "cam_features": (shape[0] - 1, shape[1] - 2, 2)}
    return {name: random.normal(size=size).astype(np.float16) for name, size in shapes.items()}


class MapStoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "deep" / "maps"

    def open(self, fingerprint=FINGERPRINT, **options):
        return MapStore.exclusive(self.folder, fingerprint, **options)

    def fill(self, *rows):
        with self.open() as store:
            for row in rows:
                store.write(row, **make_maps(row))

    def file(self, row):
        return self.folder / f"{row:07d}.npz"

    def assert_maps(self, store, row, seed=None):
        actual, expected = store.read(row), make_maps(row if seed is None else seed)
        self.assertEqual(actual.keys(), expected.keys())
        for name, values in expected.items():
            self.assertEqual(actual[name].dtype, np.float16)
            np.testing.assert_array_equal(actual[name], values)


class RoundTripTest(MapStoreCase):
    def test_read_back_at_once_and_after_reopening(self):
        with self.open() as store:
            for row in (4, 0, 2):
                store.write(row, **make_maps(row))
                self.assert_maps(store, row)
        with self.open() as store:
            for row in (0, 2, 4):
                self.assert_maps(store, row)

    def test_images_of_several_shapes(self):
        with self.open() as store:
            for row, shape in enumerate([(2, 3), (9, 4), (3, 3)]):
                store.write(row, **make_maps(row, shape))
            self.assertEqual([store.read(row)["features"].shape for row in range(3)], [(2, 3, 5), (9, 4, 5), (3, 3, 5)])

    @settings(deadline=None, max_examples=60)
    @given(arrays.arrays(np.float32, (2, 3, 2), elements=st.floats(2.0**-14, 65504, width=32)))
    def test_a_relative_error_of_5e_4(self, maps):
        """The relative error holds for the normal numbers of float16."""
        store = MapStore(self.create_tempdir().full_path, dtype="float16")
        store.write(0, first=maps, second=-maps)
        actual = store.read(0)
        for name, expected in (("first", maps), ("second", -maps)):
            error = np.abs(actual[name].astype(np.float64) - expected)
            self.assertLessEqual(float(np.max(error / np.abs(expected.astype(np.float64)))), 5e-4)

    @settings(deadline=None, max_examples=60)
    @given(arrays.arrays(np.float32, (3, 4, 2), elements=st.floats(-1000, 1000, width=32)))
    def test_int8_is_within_half_a_step_and_keeps_what_is_not_zero(self, maps):
        maps[np.abs(maps) < 1e-3] = 0
        store = MapStore(self.create_tempdir().full_path, dtype="int8")
        store.write(0, features=maps)
        actual = store.read(0)["features"]
        step = np.abs(maps.astype(np.float64)).max(axis=(0, 1)) / 127
        error = np.abs(actual - maps.astype(np.float64))
        small = np.abs(maps) < step / 2
        self.assertTrue(np.all(error <= np.where(small, 1.0001, 0.5001) * step + 1e-9))
        np.testing.assert_array_equal(np.sign(actual), np.sign(maps))
        self.assertEqual(actual.dtype, np.float32)

    def test_int8_needs_half_the_bytes_and_another_store(self):
        maps = {"features": np.random.default_rng(0).normal(size=(20, 30, 64)).astype(np.float32)}
        with self.open() as store:
            store.write(0, **maps)
            float16_bytes = self.file(0).stat().st_size
        with self.assertRaisesRegex(StaleStoreError, 'dtype: null there, "int8" now'), self.open(dtype="int8"):
            pass
        self.folder = self.folder.with_name("compact")
        with self.open(dtype="int8") as store:
            store.write(0, **maps)
        self.assertLess(self.file(0).stat().st_size, 0.52 * float16_bytes)

    def test_int8_needs_less_for_maps_that_are_mostly_zero(self):
        random = np.random.default_rng(0)
        maps = np.maximum(random.normal(-1, 1, (20, 30, 64)), 0).astype(np.float32)
        store = MapStore(self.folder, dtype="int8")
        store.write("picture", features=maps)
        self.assertLess((self.folder / "pi" / "picture.npz").stat().st_size, 0.35 * maps.size)
        step = maps.max(axis=(0, 1)) / 127
        self.assertLessEqual(float(np.max(np.abs(store.read("picture")["features"] - maps) - 1.001 * step)), 0.0)

    def test_int8_of_format_1_is_read_and_becomes_format_2(self):
        values, scales = quantize(make_maps(0)["features"].astype(np.float32), axis=(0, 1))
        expected = values.astype(np.float32) * scales
        (self.folder / "ab").mkdir(parents=True)
        np.savez(self.folder / "ab" / "abc.npz", **{"features": values, "features scales": scales})
        (self.folder / "fingerprint.json").write_text(json.dumps({"format": 1, "dtype": "int8", **FINGERPRINT}))
        store = MapStore(self.folder, dtype="int8")
        np.testing.assert_array_equal(store.read("abc")["features"], expected)
        with self.assertRaisesRegex(StaleStoreError, "weights"):
            store.claim({**FINGERPRINT, "weights": "def"})
        store.claim(FINGERPRINT)
        store.claim(FINGERPRINT)
        self.assertEqual(json.loads((self.folder / "fingerprint.json").read_text())["format"], 2)
        np.testing.assert_array_equal(store.read("abc")["features"], expected)

    def test_unknown_type(self):
        with self.assertRaisesRegex(ValueError, "unknown type of maps 'int4'; known: float16, int8"):
            MapStore(self.folder, dtype="int4")

    def test_values_beyond_float16_are_clipped(self):
        with self.open() as store:
            store.write(0, features=np.array([[[1e5, -1e9, 65504.0, 70000.0, np.inf, -np.inf, 1.0]]], np.float32))
            actual = store.read(0)["features"]
        np.testing.assert_array_equal(actual, [[[65504, -65504, 65504, 65504, 65504, -65504, 1]]])

    def test_written_again(self):
        with self.open() as store:
            store.write(1, **make_maps(9))
            store.write(1, **make_maps(1))
            self.assert_maps(store, 1)

    def test_missing(self):
        with self.open() as store:
            self.assertEqual(store.missing(range(LENGTH)), list(range(LENGTH)))
            store.write(3, **make_maps(3))
            self.assertEqual(store.missing([4, 3, 1]), [4, 1])
            self.assertEqual(store.missing([3]), [])


class DamageTest(MapStoreCase):
    def assert_damaged(self, row):
        with self.open() as store, self.assertRaises(StaleStoreError) as caught:
            store.read(row)
        self.assertStartsWith(str(caught.exception), f"{self.file(row)} cannot be read (")
        self.assertIn("remove it", str(caught.exception))

    def test_a_missing_file(self):
        self.fill(0)
        self.assert_damaged(1)

    @parameterized.parameters(0, 1, 60, 200, -1)
    def test_cut_off(self, size):
        self.fill(0)
        content = self.file(0).read_bytes()
        self.file(0).write_bytes(content[:size])
        self.assert_damaged(0)

    @parameterized.parameters(b"not an archive", b"\x80\x04K\x01.", b"\x93NUMPY", bytes(200))
    def test_a_file_of_another_format(self, content):
        self.fill(0)
        self.file(0).write_bytes(content)
        self.assert_damaged(0)

    def test_changed_values_are_detected(self):
        self.fill(0)
        content = bytearray(self.file(0).read_bytes())
        content[content.index(make_maps(0)["features"].tobytes())] ^= 1
        self.file(0).write_bytes(content)
        self.assert_damaged(0)

    def test_any_changed_byte_of_the_directory(self):
        """The directory of an archive holds compression methods and flags, for which zipfile raises its own errors."""
        self.fill(0)
        content = self.file(0).read_bytes()
        directory = content.index(b"PK\1\2")
        for offset, change in itertools.product(range(46), (0x01, 0x80, 0xFF)):
            changed = bytearray(content)
            changed[directory + offset] ^= change
            self.file(0).write_bytes(changed)
            with self.open() as store, self.subTest(offset=offset, change=change):
                try:
                    store.read(0)
                except StaleStoreError as error:
                    self.assertStartsWith(str(error), str(self.file(0)))

    @parameterized.parameters("float16", "int8")
    def test_any_changed_byte(self, dtype):
        """A changed byte anywhere in a file either raises an error that names the file, or changes no map."""
        store, random = MapStore(self.folder, dtype=dtype), np.random.default_rng(0)
        store.write("picture", **make_maps(0))
        expected, file = store.read("picture"), self.folder / "pi" / "picture.npz"
        content, num_errors = file.read_bytes(), 0
        for i, value in zip(random.integers(len(content), size=1000), random.integers(1, 256, 1000), strict=True):
            changed = bytearray(content)
            changed[i] ^= value
            file.write_bytes(changed)
            try:
                actual = store.read("picture")
            except StaleStoreError as error:
                self.assertStartsWith(str(error), str(file))
                num_errors += 1
            else:
                for name in actual.keys() & expected.keys():
                    np.testing.assert_array_equal(actual[name], expected[name])
        self.assertGreater(num_errors, 500)

    def test_a_shape_that_does_not_fit(self):
        """The checksums of the file are right, but the recorded shape is not: no more than this shape is expanded."""
        store, file = MapStore(self.folder, dtype="int8"), self.folder / "pi" / "picture.npz"
        store.write("picture", **make_maps(0))
        content = dict(np.load(file))
        for shape in ((3, 4, 6), (3, 4, 4), (3, 4), (3, 4, -5), (0, 4, 5)):
            np.savez(file, **content | {"features shape": np.array(shape)})
            with self.assertRaisesRegex(StaleStoreError, f"{file} cannot be read"):
                store.read("picture")

    def test_other_images_are_still_read(self):
        self.fill(0, 1)
        self.file(0).write_bytes(b"")
        with self.open() as store:
            self.assert_maps(store, 1)
            store.write(0, **make_maps(0))
            self.assert_maps(store, 0)


class KillTest(MapStoreCase):
    def test_an_interrupted_write_leaves_no_row(self):
        def write_half(stream, **_):
            stream.write(b"half of it")
            raise KeyboardInterrupt

        with self.open() as store:
            with mock.patch.object(maps_module.np, "savez", write_half), self.assertRaises(KeyboardInterrupt):
                store.write(2, **make_maps(2))
            self.assertIn(2, store.missing(range(LENGTH)))
            store.write(2, **make_maps(2))
            self.assert_maps(store, 2)
        self.assertEqual(list(self.folder.glob("*.partial")), [])

    def test_an_interrupted_write_leaves_the_old_row(self):
        self.fill(2)
        with self.open() as store:
            with (
                mock.patch.object(maps_module.np, "savez", side_effect=OSError("disk full")),
                self.assertRaises(OSError),
            ):
                store.write(2, **make_maps(9))
            self.assert_maps(store, 2)

    def test_a_killed_process(self):
        command = [sys.executable, "-c", KILLED, str(self.folder)]
        process = subprocess.run(command, cwd=shared.ROOT, check=False)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertLen(list(self.folder.glob("0000001.npz.*.partial")), 1)
        with self.open({}) as store:
            self.assertEqual(store.missing(range(LENGTH)), [1, 2, 3, 4])
            np.testing.assert_array_equal(store.read(0)["features"], np.ones((2, 3, 4)))
            store.write(1, **make_maps(1))
            self.assert_maps(store, 1)


class OpeningTest(MapStoreCase):
    @parameterized.parameters(
        ({"fingerprint": FINGERPRINT | {"weights": "def"}}, 'weights: "abc" there, "def" now'),
        ({"fingerprint": {"weights": "abc"}}, 'preprocessing: {"resize": "min720"} there, null now'),
        ({"fingerprint": FINGERPRINT | {"length": 6}}, "length: null there, 6 now"),
    )
    def test_another_fingerprint_is_refused(self, changes, message):
        self.fill(0)
        with self.assertRaises(StaleStoreError) as caught, self.open(**changes):
            pass
        self.assertIn(message, str(caught.exception))
        self.assertIn(str(self.folder), str(caught.exception))
        with self.open() as store:  # neither locked nor changed
            self.assert_maps(store, 0)

    def test_another_format(self):
        self.fill(0)
        with (
            mock.patch.dict(maps_module.FORMATS, float16=99),
            self.assertRaisesRegex(StaleStoreError, "format: 1 there, 99 now"),
            self.open(),
        ):
            pass

    def test_a_foreign_folder(self):
        self.folder.mkdir(parents=True)
        (self.folder / "0000000.npz").write_bytes(b"somebody's")
        with self.assertRaisesRegex(StaleStoreError, "holds 0000000.npz, but no fingerprint.json; name a new"):
            self.open().__enter__()
        self.assertEqual((self.folder / "0000000.npz").read_bytes(), b"somebody's")

    def test_the_fingerprint_is_readable(self):
        self.fill()
        stored = json.loads((self.folder / "fingerprint.json").read_text())
        self.assertEqual(stored, FINGERPRINT | {"format": 1})

    def test_busy(self):
        with self.open():
            with self.assertRaisesRegex(StoreBusyError, f"{self.folder} is in use by another process"):
                self.open().__enter__()
            with self.assertRaises(StoreBusyError):
                self.open({"weights": "other"}).__enter__()
        with self.open():
            pass


if __name__ == "__main__":
    absltest.main()
