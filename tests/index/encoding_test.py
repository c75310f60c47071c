import functools
import hashlib
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.extraction import ExtractionConfig
from cwcf_jax.images import Resize, read_image
from cwcf_jax.index import encoding
from cwcf_jax.store import MapStore
from tests.support import indexes, oracles

EXTRACTION = ExtractionConfig(Resize("squash", 48, 32))


@functools.cache
def _model():
    return cwcf_jax.load("thin_cam", indexes.WEIGHTS)


class EncodingCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.maps = MapStore(self.folder / "maps")

    def files(self, count):
        files = [self.folder / f"{seed}.png" for seed in range(count)]
        for seed, file in enumerate(files):
            indexes.draw(file, seed)
        return {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in files}

    def write_maps(self, files):
        counts = []
        refused = encoding.write_maps(self.maps, _model(), EXTRACTION, files, counts.append)
        self.assertEqual(sum(counts), len(files))
        return refused


class WriteMapsTest(EncodingCase):
    def test_maps_of_each_picture_without_its_padding(self):
        files = self.files(5)
        self.assertEqual(self.write_maps(files), {})
        for content, file in files.items():
            image = EXTRACTION.resize(read_image(file))
            expected = encoder.feature_maps(_model(), image[None])
            actual = self.maps.read(content)
            for name, size in (("features", expected.feature_size), ("cam_features", expected.cam_size)):
                height, width = np.asarray(size[0]).tolist()
                expected_map = np.asarray(getattr(expected, name))[0, :height, :width]
                self.assertEqual(actual[name].shape, expected_map.shape)
                step = np.abs(expected_map).max(axis=(0, 1)) / 127
                self.assertTrue(np.all(np.abs(actual[name] - expected_map) <= 1.01 * step + 1e-6))

    def test_stored_maps_need_no_pass(self):
        files = self.files(3)
        content, file = list(files.items())[1]
        self.write_maps({content: file})
        file.unlink()
        self.assertEqual(self.write_maps(files), {})
        self.assertEqual(self.maps.names(), set(files))

    def test_unreadable_pictures_are_reported_and_the_others_encoded(self):
        paths = [*self.files(4).values()]
        paths[0].write_bytes(b"no picture")
        files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}
        contents = list(files)
        files[contents[2]].unlink()
        refused = self.write_maps(files)
        self.assertEqual(refused.keys(), {contents[0], contents[2]})
        self.assertRegex(refused[contents[0]], "0.png: cannot be read as a picture")
        self.assertRegex(refused[contents[2]], "2.png: no such file")
        self.assertEqual(self.maps.names(), {contents[1], contents[3]})

    def test_a_file_that_changed_after_its_listing(self):
        files = self.files(3)
        changed = list(files)[1]
        indexes.draw(files[changed], 77)
        refused = self.write_maps(files)
        self.assertEqual(refused.keys(), {changed})
        self.assertRegex(refused[changed], "1.png: changed while it was read; index it again")
        self.assertEqual(self.maps.names(), files.keys() - {changed})


class DescribeTest(EncodingCase):
    def test_against_float64_from_the_stored_maps(self):
        self.check(_model(), 18, oracles.class_vector)  # pictures in more than one batch

    def test_power_means_against_float64_from_the_stored_maps(self):
        model = cwcf_jax.load("thin_cam", indexes.WEIGHTS, pooling="gem")
        self.check(model, 3, oracles.class_power_mean)

    @parameterized.parameters(9, 3)
    def test_own_classes(self, own_classes):  # more than N_C, and fewer
        files = self.files(3)
        self.write_maps(files)
        fitted = cwcf_jax.fit_pca_whitening(
            np.random.default_rng(0).random((60, _model().feature_dim)), dim=6, fitted_on="noise"
        )
        all_classes = encoding.describe(self.maps, list(files), _model(), fitted, 5)
        described = encoding.describe(self.maps, list(files), _model(), fitted, 5, own_classes)
        kernel, bias = (np.asarray(_model().params["classifier"][name], np.float64) for name in ("kernel", "bias"))
        for content, actual in described.items():
            logits = np.asarray(self.maps.read(content)["cam_features"], np.float64).mean(axis=(0, 1)) @ kernel + bias
            top = np.sort(np.argsort(-logits)[:own_classes])
            expected = all_classes[content]
            np.testing.assert_allclose(actual.descriptor, expected.descriptor, atol=1e-6)
            np.testing.assert_allclose(actual.values[top], expected.values[top], atol=1)  # one quantization step
            np.testing.assert_allclose(actual.scales[top], expected.scales[top], atol=1e-8)
            np.testing.assert_array_equal(np.flatnonzero(actual.scales), top[expected.scales[top] > 0])
            self.assertEqual(np.abs(np.delete(actual.values, top, axis=0)).max(), 0)

    def check(self, model, count, pool):
        files = self.files(count)
        contents = list(files)
        self.write_maps(files)
        random = np.random.default_rng(0)
        fitted = cwcf_jax.fit_pca_whitening(random.random((60, model.feature_dim)), dim=6, fitted_on="noise")
        described = encoding.describe(self.maps, contents, model, fitted, 5)
        self.assertCountEqual(described, contents)
        kernel, bias = (np.asarray(model.params["classifier"][name], np.float64) for name in ("kernel", "bias"))
        for content, actual in described.items():
            maps = self.maps.read(content)
            vectors = indexes.float64_vectors(model, maps, np.arange(len(bias)), pool=pool)
            embedded = indexes.float64_whitened(vectors, fitted)
            logits = np.asarray(maps["cam_features"], np.float64).mean(axis=(0, 1)) @ kernel + bias
            top = np.argsort(-logits)[:5]
            np.testing.assert_allclose(actual.descriptor, oracles.l2(embedded[top].sum(axis=0)), atol=2e-5)
            self.assertEqual((actual.values.dtype, actual.scales.dtype), (np.int8, np.float32))
            error = np.abs(actual.values.astype(np.float64) * actual.scales[:, None] - embedded)
            self.assertTrue(np.all(error <= 0.51 * actual.scales[:, None] + 2e-5))


if __name__ == "__main__":
    absltest.main()
