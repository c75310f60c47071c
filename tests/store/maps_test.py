"""These tests write maps, read them again, and open stores."""

import json
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cwcf_jax.arrays import quantize
from cwcf_jax.store import MapStore, StaleStoreError, StoreBusyError
from cwcf_jax.store import maps as maps_module
from tests.store.map_case import FINGERPRINT, LENGTH, MapStoreCase, make_maps


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
