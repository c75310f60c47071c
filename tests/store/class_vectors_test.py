import os
import pathlib
from unittest import mock

import numpy as np
import tensorstore
from absl.testing import absltest, parameterized

from cwcf_jax.store import (
    ClassVectorStore,
    ClassVectorWriter,
    StaleStoreError,
    StoreConfig,
    class_vectors,
    write_images,
)
from tests.store.class_vectors import CLASSES, DIM, FINGERPRINT, SHARD_IMAGES, StoreCase, contents, make, read_all
from tests.support import servers


class ReadTest(StoreCase):
    @parameterized.product(dtype=("int8", "float16"), count=(1, 8, 11, 24), batch=(1, 3, 30))
    def test_vectors_are_read_as_written(self, dtype, count, batch):
        vectors = make(count, dtype=dtype)
        with self.open(dtype=dtype) as writer:
            for start in range(0, count, batch):
                writer.append(*(part[start : start + batch] for part in vectors))
        store = ClassVectorStore(self.folder, FINGERPRINT)
        self.assertLen(store, count)
        for positions in ([0], [3, 1], [2, 0, 3, 1]):
            actual = read_all(store, np.array(positions, np.int32))
            self.assertLen(actual, len(vectors))
            for part, expected in zip(actual, vectors, strict=True):
                np.testing.assert_array_equal(part, expected[:, positions])

    @parameterized.parameters([(True,)], [(False,)], [(True, False, False)])
    def test_vectors_do_not_depend_on_the_page_cache(self, cached):
        vectors = self.fill(12 * SHARD_IMAGES)
        calls = []

        def answer(file, chunk_bytes, positions):
            calls.append((file, chunk_bytes, positions.tolist()))
            return cached[len(calls) % len(cached)]

        with (
            mock.patch.object(class_vectors, "page_cache_holds", answer),
            mock.patch.object(class_vectors, "READ_AHEAD_BYTES", 1),
        ):
            actual = read_all(ClassVectorStore(self.folder, FINGERPRINT), np.array([3, 1]))
        self.assertLen(calls, 12)
        self.assertEqual(calls[0][1:], (SHARD_IMAGES * DIM, [3, 1]))
        for part, expected in zip(actual, vectors, strict=True):
            np.testing.assert_array_equal(part, expected[:, [3, 1]])

    @absltest.skipUnless(hasattr(os, "RWF_NOWAIT"), "DID NOT RUN: needs a system that says what its page cache holds")
    def test_page_cache_holds(self):
        file = pathlib.Path(self.create_tempdir().full_path, "file")
        page = os.sysconf("SC_PAGE_SIZE")
        file.write_bytes(bytes(64 * page))
        self.assertTrue(class_vectors.page_cache_holds(file, page, np.array([3, 60])))
        self.assertFalse(class_vectors.page_cache_holds(file, page, np.array([3, 64])))  # 64 is behind the file's end

    @parameterized.parameters("int8", "float16")
    def test_on_an_object_store(self, dtype):
        vectors = make(19, dtype=dtype)
        with servers.s3_bucket() as bucket:
            location = bucket | {"path": f"deep/{dtype}"}
            layout = StoreConfig(CLASSES, DIM, dtype, SHARD_IMAGES)
            with ClassVectorWriter(location, FINGERPRINT, layout) as writer:
                writer.append(*(part[:10] for part in vectors))
            with ClassVectorWriter(location, FINGERPRINT, layout) as writer:
                self.assertEqual(writer.length, 10)
                writer.append(*(part[10:] for part in vectors))
            store = ClassVectorStore(location, FINGERPRINT)
            for part, expected in zip(read_all(store, np.array([3, 1])), vectors, strict=True):
                np.testing.assert_array_equal(part, expected[:, [3, 1]])
            rows = np.array([18, 0, 9])
            block = store.vectors(rows, np.array([2]))
            np.testing.assert_array_equal(block.values[0], vectors[0][rows, 2])
            with self.assertRaisesRegex(StaleStoreError, 'weights: "abc" there, "other" now'):
                ClassVectorStore(location, FINGERPRINT | {"weights": "other"})

    def test_any_reader_of_zarr_opens_it(self):
        values, scales = self.fill(11)
        for name, expected in (("values", values), ("scales", scales)):
            kvstore = {"driver": "file", "path": str(self.folder / name)}
            array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result()
            np.testing.assert_array_equal(array[:, :11].read().result().swapaxes(0, 1), expected)

    def test_the_chunk_of_a_class_is_contiguous_in_its_file(self):
        values, _ = self.fill(11)
        data = (self.folder / "values" / "c" / "0" / "1" / "0").read_bytes()
        chunk_bytes = SHARD_IMAGES * DIM
        self.assertEqual(data[2 * chunk_bytes : 2 * chunk_bytes + 3 * DIM], values[8:, 2].tobytes())

    @parameterized.parameters("int8", "float16")
    def test_vectors_of_some_images(self, dtype):
        vectors = self.fill(20, dtype=dtype)
        rows, positions = np.array([19, 0, 8, 7, 8]), np.array([3, 0])
        block = ClassVectorStore(self.folder).vectors(rows, positions)
        np.testing.assert_array_equal(block.values, vectors[0][rows][:, positions].swapaxes(0, 1))
        if dtype == "int8":
            np.testing.assert_array_equal(block.scales, vectors[1][rows][:, positions].T)
        np.testing.assert_array_equal(block.positions, [0, 1])

    def test_vectors_of_own_classes_alone(self):
        """Compressed vectors, written in parts and read in any way, are equal to uncompressed vectors."""
        values, scales = make(2 * SHARD_IMAGES + 3)
        kept = np.random.default_rng(1).permuted(np.tile(np.arange(4) < 2, (len(values), 1)), axis=1)
        values, scales = values * kept[..., None], scales * kept
        for own, folder in ((2, self.folder / "own"), (0, self.folder / "all")):
            with ClassVectorWriter(folder, FINGERPRINT, StoreConfig(CLASSES, DIM, "int8", SHARD_IMAGES, own)) as writer:
                writer.append(values[:5], scales[:5])
                writer.append(values[5:12], scales[5:12])
                rows = writer.reserve(len(values) - 12)
                for shard_rows in rows:
                    write_images(folder, shard_rows.start, values[shard_rows], scales[shard_rows])
                writer.commit(len(values) - 12)
            store, positions = ClassVectorStore(folder, FINGERPRINT), np.array([3, 0, 2])
            self.assertEqual((len(store), store.layout.own), (len(values), own))
            for actual, expected in zip(read_all(store, positions), (values, scales), strict=True):
                np.testing.assert_array_equal(actual, expected[:, positions])
            block = store.vectors(np.array([17, 0, 9]), positions)
            expected = values[[17, 0, 9]][:, positions].swapaxes(0, 1)
            np.testing.assert_array_equal(block.values[block.positions], expected)
        with self.assertRaisesRegex(StaleStoreError, "own: 2 there, 3 now"):
            ClassVectorWriter(self.folder / "own", FINGERPRINT, StoreConfig(CLASSES, DIM, "int8", SHARD_IMAGES, 3))

    def test_zeros_need_little_space(self):
        layout, random = StoreConfig(tuple(range(500)), 64, "int8", 64, own=20), np.random.default_rng(0)
        values, scales = np.zeros((64, 500, 64), np.int8), np.zeros((64, 500), np.float32)
        for image in range(64):
            own = random.choice(500, 20, replace=False)
            values[image, own], scales[image, own] = random.integers(-127, 128, (20, 64)), random.random(20)
        with ClassVectorWriter(self.folder, {}, layout) as writer:
            writer.append(values, scales)
        size = sum(len(content) for content in contents(self.folder).values())
        self.assertLess(size, 1.5 * 64 * 20 * (64 + 4))
        self.assertLess(10 * size, 64 * layout.image_bytes)

    def test_any_changed_byte_of_own_classes_vectors(self):
        """A changed byte anywhere in a file either raises an error that names the store, or changes no vector."""
        values, scales = make(11)
        with self.open(own=3) as writer:
            writer.append(values, scales)
        random, positions, original = np.random.default_rng(0), np.arange(4), contents(self.folder)
        names, num_errors = sorted(name for name in original if original[name]), 0
        for name in random.choice(names, 300):
            changed = bytearray(original[name])
            changed[random.integers(len(changed))] ^= random.integers(1, 256)
            (self.folder / name).write_bytes(changed)
            try:
                store = ClassVectorStore(self.folder, FINGERPRINT)
                actual = read_all(store, positions) if len(store) == len(values) else (values, scales)
            except (StaleStoreError, FileNotFoundError) as error:
                self.assertIn(str(self.folder), str(error))
                num_errors += 1
            else:
                for part, expected in zip(actual, (values, scales), strict=True):
                    np.testing.assert_array_equal(part, expected)
            (self.folder / name).write_bytes(original[name])
        self.assertGreater(num_errors, 150)
        (self.folder / "values" / "c" / "0" / "1" / "0").unlink()
        with self.assertRaisesRegex(StaleStoreError, "values/c/0/1/0"):
            read_all(ClassVectorStore(self.folder), positions)

    def test_positions_and_missing_classes(self):
        self.fill(2)
        store = ClassVectorStore(self.folder)
        np.testing.assert_array_equal(store.positions(np.array([9, 1, 5])), [3, 0, 2])
        for absent in ([0], [1, 2], [10], [999]):
            with self.assertRaisesRegex(ValueError, f"the store holds 4 classes, but not {absent[-1]}"):
                store.positions(np.array(absent))

        for wrong in ([], [1, 4, 1]):
            with self.assertRaisesRegex(ValueError, "distinct, and at least one"):
                store.positions(np.array(wrong, np.int32))

    def test_an_empty_store(self):
        self.open().close()
        store = ClassVectorStore(self.folder)
        self.assertEmpty(store)
        self.assertEmpty(list(store.read(np.array([0]))))

    def test_image_bytes(self):
        self.assertEqual(StoreConfig(tuple(range(1000)), 512).image_bytes, 516_000)
        self.assertEqual(StoreConfig(CLASSES, DIM, "float16").image_bytes, 48)

    def test_more_own_classes_than_the_store_has(self):
        with self.assertRaisesRegex(ValueError, r"vectors of 0 \(all\) to 4 classes, not 5"):
            StoreConfig(CLASSES, DIM, own=5)


if __name__ == "__main__":
    absltest.main()
