"""The encoder against the equations in float64, and inside other people's transformations."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, PartitionSpec

import cwcf_jax
from cwcf_jax import datasets, encoder, networks
from cwcf_jax.encoder import passes
from tests import oracles, shared


@functools.cache
def _model(**options):
    return cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"), **options)


@functools.cache
def _small_model(**options):
    return cwcf_jax.load("squeezenet1_1", shared.require("weights/squeezenet_v1.1.npz"), **options)


def _photographs(count):
    images = datasets.read_oxford(shared.require("data/oxford_dev"))
    return [datasets.read_image(path) for path in images.paths[:count]]


def _maps(model, image):
    """Feature maps, CAM features and logits of one unpadded image, float64."""
    sizes = jnp.array([image.shape[:2]], jnp.int32)
    inputs = networks.preprocess(jnp.asarray(image)[None], sizes, model.network.spec.preprocessing)
    logits, activations = jax.jit(model.network.apply)(model.params, inputs, sizes)
    features = activations[model.config.feature_layer][0]
    cam_features = activations[model.network.spec.cam_layer.name][0]
    return (np.asarray(part, np.float64) for part in (features, cam_features, logits[0]))


class EquationsTest(absltest.TestCase):
    """One photograph through section 3 of the paper, step by step in numpy."""

    def setUp(self):
        super().setUp()
        self.model = _model()
        self.image = _photographs(1)[0][:333, :450]
        self.kernel = np.asarray(self.model.params["classifier"]["kernel"], np.float64)
        self.bias = np.asarray(self.model.params["classifier"]["bias"], np.float64)

    def test_class_vectors_of_the_whole_image(self):
        features, cam_features, logits = _maps(self.model, self.image)
        found = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=5)
        top = np.argsort(-logits, kind="stable")[:5]
        self.assertEqual(found.class_ids[0].tolist(), top.tolist())
        exponentials = np.exp(logits - logits.max())
        np.testing.assert_allclose(found.probabilities[0], (exponentials / exponentials.sum())[top], rtol=1e-4)
        for row, c in zip(found.vectors[0], top, strict=True):
            cam = oracles.min_max(cam_features @ self.kernel[:, c])
            expected = oracles.class_vector(features, cam)
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())

    def test_descriptor_with_whitening(self):
        features, cam_features, logits = _maps(self.model, self.image)
        training = np.random.default_rng(0).random((40, 832))
        whitening = cwcf_jax.fit_pca_whitening(training, dim=16)
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
        top = np.argsort(-logits, kind="stable")[:5]
        vectors = [oracles.class_vector(features, oracles.min_max(cam_features @ self.kernel[:, c])) for c in top]
        expected = oracles.descriptor(vectors, np.asarray(whitening.mean), projection)
        found = cwcf_jax.encode(self.model, self.image[None], num_classes=5, whitening=whitening)
        self.assertEqual(found.dtype, jnp.float32)
        np.testing.assert_allclose(found[0], expected, atol=1e-4)

    def test_region_of_interest(self):
        """reference.md: box cut on the map, classes of the mean inside, channel weight inside, CAM over the whole."""
        features, cam_features, _ = _maps(self.model, self.image)
        x1, y1, x2, y2 = 70.0, 40.0, 300.0, 200.0
        height, width = features.shape[:2]
        rows = slice(int(np.floor(y1 * height / 333)), int(np.ceil(y2 * height / 333)))
        columns = slice(int(np.floor(x1 * width / 450)), int(np.ceil(x2 * width / 450)))
        logits = cam_features[rows, columns].mean(axis=(0, 1)) @ self.kernel + self.bias
        top = np.argsort(-logits, kind="stable")[:4]
        found = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=4, boxes=[[x1, y1, x2, y2]])
        self.assertEqual(found.class_ids[0].tolist(), top.tolist())
        for row, c in zip(found.vectors[0], top, strict=True):
            cam = oracles.min_max(cam_features @ self.kernel[:, c])[rows, columns]
            expected = oracles.class_vector(features[rows, columns], cam)
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())

    def test_finer_feature_layer_resizes_the_maps(self):
        model = _model(feature_layer="inception_4e")
        features, cam_features, logits = _maps(model, self.image)
        top = int(np.argmax(logits))
        cam = oracles.min_max(cam_features @ self.kernel[:, top])
        resized = jax.image.resize(jnp.asarray(cam, jnp.float32), features.shape[:2], "linear", antialias=False)
        expected = oracles.class_vector(features, np.asarray(resized, np.float64))
        found = cwcf_jax.class_vectors(model, self.image[None], num_classes=1).vectors[0, 0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    def test_given_classes(self):
        ids = [497, 538, 0]
        shared_list = cwcf_jax.class_vectors(self.model, self.image[None], class_ids=ids)
        own_list = cwcf_jax.class_vectors(self.model, self.image[None], class_ids=[ids])
        self.assertEqual(shared_list.class_ids.tolist(), [ids])
        np.testing.assert_array_equal(shared_list.vectors, own_list.vectors)
        everything = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=1000)
        for row, c in zip(shared_list.vectors[0], ids, strict=True):
            position = int(np.flatnonzero(np.asarray(everything.class_ids[0]) == c)[0])
            np.testing.assert_allclose(row, everything.vectors[0, position], rtol=1e-3, atol=1e-3)

    def test_options(self):
        plain = cwcf_jax.class_vectors(_model(channel_weighting=False), self.image[None], num_classes=3)
        weighted = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=3)
        features, _, _ = _maps(self.model, self.image)
        weights = oracles.channel_weights(features)
        expected = np.asarray(plain.vectors[0]) * weights
        np.testing.assert_allclose(weighted.vectors[0], expected, atol=1e-4 * np.abs(expected).max())
        clipped = cwcf_jax.class_vectors(_model(cam_normalization="max_clip"), self.image[None], num_classes=3)
        self.assertGreater(float(jnp.abs(clipped.vectors - weighted.vectors).max()), 1.0)


class NoClassifierTest(absltest.TestCase):
    """SqueezeNet: the maps of conv10 are the class activation maps."""

    def test_class_vectors_and_descriptor(self):
        network = networks.get("squeezenet1_1")
        model = cwcf_jax.load(network, network.initialize(0))
        image = np.random.default_rng(0).integers(0, 256, (300, 451, 3)).astype(np.uint8)
        features, maps, logits = _maps(model, image)
        np.testing.assert_allclose(maps.mean(axis=(0, 1)), logits, rtol=1e-5)
        top = np.argsort(-logits, kind="stable")[:5]
        found = cwcf_jax.class_vectors(model, image[None], num_classes=5)
        self.assertEqual(found.class_ids[0].tolist(), top.tolist())
        expected = [oracles.class_vector(features, oracles.min_max(maps[..., c])) for c in top]
        for row, vector in zip(found.vectors[0], expected, strict=True):
            np.testing.assert_allclose(row, vector, atol=1e-4 * np.abs(vector).max())
        found = cwcf_jax.encode(model, image[None], num_classes=5)
        np.testing.assert_allclose(found[0], oracles.descriptor(expected), atol=1e-4)

    def test_a_record_with_other_classes(self):
        network = networks.get("squeezenet1_1").with_spec(num_classes=7, class_names=tuple("abcdefg"))
        record = networks.Provenance(
            "squeezenet1_1", "here", "", "", network.spec.preprocessing, 7, network.spec.class_names
        )
        file = pathlib.Path(self.create_tempdir().full_path) / "weights.npz"
        networks.save_params(network.initialize(0), file, record)
        model = cwcf_jax.load("squeezenet1_1", file)
        self.assertEqual(model.cam_layer.channels, 7)
        image = np.random.default_rng(0).integers(0, 256, (1, 90, 120, 3)).astype(np.uint8)
        found = cwcf_jax.class_vectors(model, image, num_classes=7)
        self.assertEqual(sorted(found.class_ids[0].tolist()), list(range(7)))
        with self.assertRaisesRegex(ValueError, "num_classes must lie between 1 and 7, not 64"):
            cwcf_jax.encode(model, image)


class PaddingTest(absltest.TestCase):
    def test_padded_equals_unpadded_for_20_sizes(self):
        generator = np.random.default_rng(0)
        sizes = [(17, 17), (17, 300), (20, 18), (31, 33), (128, 128), (129, 255)]
        self._check_sizes(_small_model(), sizes + [tuple(generator.integers(40, 300, 2)) for _ in range(14)])

    def test_padded_equals_unpadded_down_to_one_pixel(self):
        self._check_sizes(_model(), [(1, 1), (1, 300), (129, 255)])

    def _check_sizes(self, model, sizes):
        image = _photographs(1)[0]
        unpadded = jax.jit(lambda m, i: cwcf_jax.encode(m, i, num_classes=8))
        for height, width in sizes:
            crop = image[:height, :width][None]
            padded = cwcf_jax.encode(model, crop, num_classes=8)
            np.testing.assert_allclose(
                padded, unpadded(model, jnp.asarray(crop)), atol=1e-5, err_msg=f"{height} {width}"
            )

    def test_as_many_compilations_as_buckets(self):
        model = _small_model()
        passes._encode.clear_cache()
        sizes = [(100, 120), (128, 128), (90, 17), (129, 100), (200, 128), (256, 1), (300, 300), (260, 384)]
        buckets = {(128, 128), (240, 128), (256, 128), (384, 384)}
        whitening = [
            cwcf_jax.fit_pca_whitening(np.random.default_rng(i).random((9, 512)), fitted_on=str(i)) for i in (0, 1)
        ]
        for i, (height, width) in enumerate(sizes * 2):
            image = np.full((1, height, width, 3), i, np.uint8)
            image = image if i % 3 else jnp.asarray(image)
            cwcf_jax.encode(model, image, num_classes=4, whitening=whitening[i % 2])
        self.assertEqual(passes._encode._cache_size(), len(buckets))

    def test_batch_of_several_sizes(self):
        model, image = _small_model(), _photographs(1)[0]
        sizes = [(200, 150), (130, 250), (256, 256)]
        batch = np.full((3, 256, 256, 3), 255, np.uint8)  # what lies outside the valid area does not matter
        for row, (height, width) in zip(batch, sizes, strict=True):
            row[:height, :width] = image[:height, :width]
        found = cwcf_jax.encode(model, batch, num_classes=8, sizes=sizes)
        for row, (height, width) in zip(found, sizes, strict=True):
            alone = cwcf_jax.encode(model, image[None, :height, :width], num_classes=8)
            np.testing.assert_allclose(row, alone[0], atol=1e-5)


class TransformationsTest(absltest.TestCase):
    """The same descriptors to 1e-5 whatever they are wrapped in."""

    def setUp(self):
        super().setUp()
        self.model = _small_model()
        photographs = _photographs(8)
        self.images = np.stack([image[:128, :160] for image in photographs])
        self.expected = np.asarray(cwcf_jax.encode(self.model, self.images, num_classes=8))

    def _assert_same(self, found):
        np.testing.assert_allclose(found, self.expected, atol=1e-5)

    def test_jit(self):
        self._assert_same(jax.jit(lambda m, i: cwcf_jax.encode(m, i, num_classes=8))(self.model, self.images))

    def test_jit_with_everything_traced(self):
        arguments = {"class_ids": [497, 538], "sizes": [(100, 120)] * 8, "boxes": [(0.0, 0.0, 90.0, 80.0)] * 8}
        found = jax.jit(lambda m, i, kw: cwcf_jax.encode(m, i, **kw))(self.model, self.images, arguments)
        np.testing.assert_allclose(found, cwcf_jax.encode(self.model, self.images, **arguments), atol=1e-5)

    def test_float_images(self):
        self._assert_same(cwcf_jax.encode(self.model, self.images.astype(np.float32), num_classes=8))

    def test_vmap(self):
        one = lambda image: cwcf_jax.encode(self.model, image[None], num_classes=8)[0]  # noqa: E731
        self._assert_same(jax.vmap(one)(jnp.asarray(self.images)))

    def test_shard_map_over_8_devices(self):
        self.assertGreaterEqual(jax.device_count(), 8)
        mesh = Mesh(np.array(jax.devices()[:8]), ("batch",))
        encode = jax.shard_map(
            lambda m, i: cwcf_jax.encode(m, i, num_classes=8),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("batch")),
            out_specs=PartitionSpec("batch"),
        )
        self._assert_same(jax.jit(encode)(self.model, jnp.asarray(self.images)))

    def test_grad_with_respect_to_the_images(self):
        images = jnp.asarray(self.images[:1], jnp.float32)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=512), jnp.float32)
        ids = jnp.arange(8)
        # Q_k counts cells (Eq. 2): it has no slope, only steps that would blur a difference quotient.
        model = _small_model(channel_weighting=False)

        def objective(images):
            descriptor = cwcf_jax.encode(model, images, class_ids=ids)
            return descriptor[0] @ direction, descriptor

        (value, descriptor), gradient = jax.value_and_grad(objective, has_aux=True)(images)
        plain = cwcf_jax.encode(model, self.images[:1], class_ids=ids)
        np.testing.assert_allclose(descriptor, plain, atol=1e-5)
        self.assertTrue(bool(jnp.isfinite(gradient).all()))
        # Along the gradient the objective changes by its squared length: a difference quotient agrees.
        step = gradient * (0.02 / jnp.abs(gradient).max())
        quotient = (objective(images + step)[0] - objective(images - step)[0]) / 2.0
        np.testing.assert_allclose(quotient, jnp.sum(gradient * step), rtol=0.05)
        self.assertNotEqual(float(value), 0.0)

    def test_model_is_a_pytree(self):
        doubled = jax.tree.map(lambda leaf: 2.0 * leaf, self.model)
        self.assertEqual(doubled.config, self.model.config)
        leaves = jax.tree.leaves(self.model)
        self.assertEqual(sum(leaf.size for leaf in leaves), 1_235_496)


class DegenerateTest(parameterized.TestCase):
    """No NaN, and a defined result."""

    @parameterized.parameters((1, 1), (7, 9), (200, 150))
    def test_constant_image(self, height, width):
        for value in (0, 128, 255):
            image = np.full((1, height, width, 3), value, np.uint8)
            found = np.asarray(cwcf_jax.encode(_model(), image, num_classes=8))
            self.assertAlmostEqual(float(np.linalg.norm(found)), 1.0, places=5)

    def test_one_cell_region(self):
        image = _photographs(1)[0][None, :256, :256]
        for box in ([10, 10, 11, 11], [-50, -50, -1, -1], [5000, 5000, 6000, 6000]):
            found = np.asarray(cwcf_jax.encode(_model(), image, num_classes=8, boxes=[box]))
            self.assertTrue(np.isfinite(found).all())
            self.assertAlmostEqual(float(np.linalg.norm(found)), 1.0, places=5)

    def test_dead_network(self):
        model = _model()
        dead = dataclasses.replace(model, params=jax.tree.map(jnp.zeros_like, model.params))
        image = _photographs(1)[0][None, :128, :128]
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((9, 832)))
        for chosen in (None, whitening):
            found = cwcf_jax.encode(dead, image, num_classes=8, whitening=chosen)
            np.testing.assert_array_equal(found, np.zeros_like(found))

    def test_maps_without_positive_evidence_are_dropped(self):
        model = _model()
        classifier = model.params["classifier"]
        negative = classifier | {"kernel": classifier["kernel"].at[:, 7].set(-1.0)}  # the CAM of class 7: -sum of A
        image = _photographs(1)[0][None, :256, :256]
        for drop in (True, False):
            config = dataclasses.replace(model.config, drop_negative=drop)
            changed = dataclasses.replace(model, params=model.params | {"classifier": negative}, config=config)
            vectors = cwcf_jax.class_vectors(changed, image, class_ids=[6, 7]).vectors[0]
            self.assertEqual(bool(jnp.all(vectors[1] == 0)), drop)
            self.assertFalse(bool(jnp.all(vectors[0] == 0)))
            found = cwcf_jax.encode(changed, image, class_ids=[6, 7])
            alone = cwcf_jax.encode(changed, image, class_ids=[6, 6])
            self.assertEqual(bool(jnp.allclose(found, alone, atol=1e-6)), drop)


class ArgumentsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.model = encoder.load("googlenet", networks.get("googlenet").shapes())  # shapes do for what is refused

    @parameterized.parameters(
        (dict(images=np.zeros((4, 4, 3), np.uint8)), r"images must be \[batch, .*add a batch axis"),
        (dict(images=np.zeros((1, 4, 4, 1), np.uint8)), r"not of shape \(1, 4, 4, 1\)"),
        (dict(images=np.zeros((0, 4, 4, 3), np.uint8)), "not of shape"),
        (dict(images=np.zeros((1, 4, 4, 3), np.int32)), "uint8 or floating point.*not int32"),
        (dict(num_classes=0), "num_classes must lie between 1 and 1000, not 0"),
        (dict(num_classes=1001), "not 1001"),
        (dict(class_ids=[1000]), "0-based indices below 1000"),
        (dict(class_ids=[-1]), "0-based indices"),
        (dict(class_ids=[]), "at least one 0-based index"),
        (dict(class_ids=[497.0]), "0-based index below 1000, not float"),
        (
            dict(images=[np.zeros((4, 4, 3)), np.zeros((5, 4, 3))]),
            "several sizes must be padded",
        ),
        (dict(class_ids=[[1], [2]]), r"\[n\] or \[batch, n\], not of shape \(2, 1\)"),
        (dict(sizes=[4, 4]), r"sizes must have shape \(1, 2\)"),
        (dict(sizes=[[5, 4]]), "sizes must lie between 1 and the image's"),
        (dict(boxes=[0, 0, 4, 4]), r"boxes must have shape \(1, 4\)"),
        (dict(boxes=[[0, 0, float("nan"), 4]]), "boxes must be finite"),
    )
    def test_errors(self, arguments, message):
        arguments = {"images": np.zeros((1, 4, 4, 3), np.uint8)} | arguments
        for function in (cwcf_jax.encode, cwcf_jax.class_vectors, encoder.pool):
            with self.assertRaisesRegex(ValueError, message):
                function(self.model, **arguments)

    def test_load(self):
        with self.assertRaisesRegex(ValueError, "unknown CAM normalization 'softmax'; known: min_max"):
            encoder.load("googlenet", {}, cam_normalization="softmax")
        with self.assertRaisesRegex(ValueError, "unknown network"):
            encoder.load("resnet", {})
        with self.assertRaisesRegex(ValueError, "no feature layer 'conv5_1'"):
            encoder.load("googlenet", {}, feature_layer="conv5_1")
        params = networks.get("googlenet").shapes()
        del params["conv1"]["bias"]
        params["conv2"]["bias"] = jnp.zeros(192, jnp.int8)
        with self.assertRaisesRegex(
            cwcf_jax.CheckpointError,
            "params does not hold googlenet:\n  missing conv1/bias.*\n  not floating point conv2/bias",
        ):
            encoder.load("googlenet", params)


if __name__ == "__main__":
    absltest.main()
