import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.networks import Provenance
from cwcf_jax.networks.preprocessing import CAFFE_VGG, TORCHVISION
from cwcf_jax.training import TrainingConfig, prepare
from tests.support import shared, thin
from tests.training import tiny


class PrepareTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(absltest.get_default_test_tmpdir()) / cls.__name__
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.folder = tiny.pictures(cls.root / "colours", count=4)
        cls.network = tiny.network(num_labels=3)
        cls.named = cls.network.with_spec(class_names=("blue sky", "green grass", "red roof"))
        cls.weights = cls.save("weights", cls.named, preprocessing=CAFFE_VGG)

    @classmethod
    def save(cls, name, network, preprocessing=TORCHVISION):
        spec, path = network.spec, cls.root / f"{name}.npz"
        record = Provenance(
            spec.name, "a test", "", "", preprocessing, num_classes=spec.num_labels, class_names=spec.class_names
        )
        networks.save_params(network.initialize(7), path, record)
        return str(path)

    def config(self, **changes):
        return TrainingConfig(**(dict(dataset=str(self.folder), steps=10, batch_size=4, image_size=12) | changes))

    def listing(self, labels):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "jpg").mkdir()
        files = sorted((self.folder / "red_roof").iterdir())
        for file in files:
            shutil.copyfile(file, folder / "jpg" / file.name)
        rows = [f"{file.name},{label}\n" for file, label in zip(files, labels, strict=True)]
        (folder / "labels.csv").write_text("file,index\n" + "".join(rows))
        return str(folder)

    def test_a_new_network_takes_the_classes_of_the_dataset(self):
        setup = prepare(self.config(), tiny.network(num_labels=10))
        self.assertEqual(setup.network.spec.class_names, ("blue sky", "green grass", "red roof"))
        self.assertEqual(setup.params["classifier"]["kernel"].shape, (8, 3))
        self.assertAlmostEqual(float(jnp.std(setup.params["classifier"]["kernel"])), 0.01, places=5)
        self.assertEqual((len(setup.train), setup.held_out, setup.frozen), (12, None, {}))

    def test_a_listing_keeps_the_classes_of_the_network(self):
        setup = prepare(self.config(dataset=self.listing([0, 9, 3, 3])), tiny.network(num_labels=10))
        self.assertEqual(setup.network.spec.num_labels, 10)
        own = prepare(self.config(dataset=self.listing([0, 4, 3, 3]), classes="dataset"), self.network)
        self.assertEqual(own.network.spec.class_names, tuple(f"class {i}" for i in range(5)))

    def test_held_out_labels_are_matched_by_name(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for name in ("green_grass", "red_roof"):
            shutil.copytree(self.folder / name, folder / name)
        setup = prepare(self.config(eval_dataset=str(folder)), self.network)
        self.assertEqual(setup.held_out.labels, (1,) * 4 + (2,) * 4)
        self.assertEqual(setup.held_out[5][1], 2)

    def test_a_trunk_brings_its_parameters_and_its_preprocessing(self):
        setup = prepare(self.config(trunk=self.weights, train="head"), tiny.network(num_labels=10))
        self.assertEqual(sorted(setup.frozen), ["conv1_1", "conv2_1"])
        expected = self.network.initialize(7)
        jax.tree.map(np.testing.assert_array_equal, setup.frozen, {k: expected[k] for k in setup.frozen})
        self.assertEqual(setup.network.spec.preprocessing, CAFFE_VGG)
        self.assertFalse(np.array_equal(setup.params["cam_conv"]["kernel"], expected["cam_conv"]["kernel"]))

    def test_a_released_trunk_fits_the_network_that_shares_it(self):
        trunk, data = shared.require("weights/googlenet_bvlc.npz"), shared.require("data/imagenet_cls_dev")
        changes = dict(network="googlenet_cam", trunk=str(trunk), dataset=str(data), train="head", check=False)
        setup = prepare(self.config(**changes))
        self.assertEqual(sorted(setup.params), ["cam_conv", "classifier"])
        self.assertIn("inception_4e", setup.frozen)
        self.assertNotIn("inception_5a", setup.frozen)
        self.assertEqual(setup.network.spec.num_labels, 1000)

    def test_whole_weights_bring_everything(self):
        setup = prepare(self.config(weights=self.weights), tiny.network(num_labels=10))
        jax.tree.map(np.testing.assert_array_equal, setup.params, self.network.initialize(7))
        self.assertEqual(setup.network.spec.preprocessing, CAFFE_VGG)

    def test_unreadable_pictures_are_left_out(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        shutil.copytree(self.folder, folder / "colours")
        (folder / "colours" / "red_roof" / "red_roof_0.jpg").write_bytes(b"no picture")
        setup = prepare(self.config(dataset=str(folder / "colours")), self.network)
        self.assertLen(setup.train, 11)
        self.assertIn("red_roof_0.jpg", setup.left_out[0])
        self.assertNotEqual(setup.facts, prepare(self.config(), self.network).facts)

    def test_what_cannot_be_trained_is_named(self):
        alone = pathlib.Path(self.create_tempdir().full_path)
        shutil.copytree(self.folder / "red_roof", alone / "red_roof")
        strange = pathlib.Path(self.create_tempdir().full_path)
        shutil.copytree(self.folder / "red_roof", strange / "blue_roof")
        other = self.save("other", tiny.network(name="another_cam"))
        text = pathlib.Path(self.create_tempdir().full_path) / "text.npz"
        text.write_text("no weights")
        ten = tiny.network(num_labels=10)
        for changes, network, message in (
            (dict(network="vgg16"), None, "--network: vgg16 has no CAM head; train vgg16_cam, whose trunk is the same"),
            (dict(network="vgg17"), None, "unknown network 'vgg17'; known: .*vgg16_cam"),
            (dict(dataset=str(alone)), ten, "one class only; a classifier needs at least two"),
            (dict(dataset=self.listing([3] * 4)), ten, "one class only"),
            (dict(dataset=self.listing([3, 10, 1, 2])), ten, "red_roof_1.jpg has label 10; tiny_cam has 10 classes"),
            (dict(eval_dataset=str(strange)), ten, "not among the 3 classes of the training: blue roof"),
            (dict(classes="own"), ten, "not among the 10 classes of the training: blue sky, green grass, red roof"),
            (dict(batch_size=16), ten, "--batch_size: 16 is more than the 12 training pictures"),
            (dict(trunk="nothing.npz"), ten, "no weights at nothing.npz"),
            (dict(trunk=str(text)), ten, "text.npz is not a readable .npz file"),
            (dict(trunk=self.weights), thin.NETWORK, "missing conv3_1/bias"),
            (dict(weights=other), ten, "these are weights of another_cam, not of tiny_cam"),
            (dict(weights=self.save("ten", ten)), ten, "its 3 classes are not the 10 of --weights; give the file as"),
        ):
            with self.subTest(message), self.assertRaisesRegex((ValueError, OSError), message):
                prepare(self.config(**changes), network)

    def test_settings_that_cannot_be(self):
        for changes, message in (
            (dict(dataset=""), "--dataset is needed"),
            (dict(steps=0), "one of --steps and --epochs"),
            (dict(epochs=1.0), "one of --steps and --epochs"),
            (dict(eval_dataset="a", eval_share=0.1), "--eval_dataset or --eval_share"),
            (dict(trunk="a", weights="b"), "--trunk or --weights"),
            (dict(train="head"), "--train=head freezes the trunk"),
            (dict(train="tail"), "--train: unknown 'tail'; known: all, head"),
            (dict(precision="half"), "--precision: unknown 'half'"),
            (dict(batch_size=0), "--batch_size: 0 must be at least 1"),
            (dict(ema=1.0), "--ema: 1.0 is not below 1"),
            (dict(label_smoothing=1.0), "--label_smoothing: 1.0 must be from 0 to 0.99"),
            (dict(min_scale=0.9, max_scale=0.5), "--min_scale: 0.9 is above --max_scale 0.5"),
            (dict(learning_rate=float("nan")), "--learning_rate: nan must be"),
        ):
            with self.subTest(message), self.assertRaisesRegex(ValueError, message):
                self.config(**changes)


if __name__ == "__main__":
    absltest.main()
