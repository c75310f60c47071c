import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import networks
from cwcf_jax.training import TrainingConfig, center_crop, prepare
from cwcf_jax.training.calibration import calibrate, new_layers
from cwcf_jax.training.steps import apply_network
from tests.training import tiny


class CalibrationTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.addCleanup(shutil.rmtree, self.root)
        self.folder = tiny.pictures(self.root / "colours", count=4)
        self.network = tiny.network(num_labels=10)

    def config(self, **changes):
        return TrainingConfig(**(dict(dataset=str(self.folder), steps=10, batch_size=4, image_size=12) | changes))

    def responses(self, config, setup, params):
        """Returns the responses of each convolution before its ReLU.

        The response minus that of the negated layer contains what the ReLU has clipped.
        """
        images = jnp.asarray(np.stack([center_crop(image, config.image_size) for image, _ in setup.train]))
        responses = {}
        apply = jax.jit(lambda params: apply_network(setup.network, params, images)[1])
        for name in ("conv1_1", "conv2_1", "cam_conv"):
            negated = params | {name: jax.tree.map(jnp.negative, params[name])}
            responses[name] = np.asarray(apply(params)[name], np.float64) - np.asarray(apply(negated)[name], np.float64)
        return responses

    def test_channels_of_new_convolutions_have_mean_0_and_variance_1(self):
        config = self.config()
        setup = prepare(config, self.network)
        params = calibrate(config, setup)
        for name, maps in self.responses(config, setup, params).items():
            np.testing.assert_allclose(maps.mean((0, 1, 2)), 0.0, atol=1e-3, err_msg=name)
            np.testing.assert_allclose(maps.std((0, 1, 2)), 1.0, atol=1e-3, err_msg=name)
        np.testing.assert_array_equal(params["classifier"]["kernel"], setup.params["classifier"]["kernel"])

    def test_a_given_trunk_is_left_alone(self):
        whole = self.network.initialize(3)
        whole["conv2_1"] = jax.tree.map(lambda leaf: 500.0 * leaf, whole["conv2_1"])  # as large as a Caffe trunk's
        networks.save_params(whole, self.root / "whole.npz")
        for train in ("head", "all"):
            config = self.config(trunk=str(self.root / "whole.npz"), train=train)
            setup = prepare(config, self.network)
            self.assertEqual(new_layers(config, setup), ("cam_conv",))
            params = calibrate(config, setup) | setup.frozen
            jax.tree.map(np.testing.assert_array_equal, params["conv2_1"], whole["conv2_1"])
            maps = self.responses(config, setup, params)["cam_conv"]
            np.testing.assert_allclose(maps.mean((0, 1, 2)), 0.0, atol=1e-3)
            np.testing.assert_allclose(maps.std((0, 1, 2)), 1.0, atol=1e-3)

    def test_whole_weights_are_left_alone(self):
        networks.save_params(tiny.network().initialize(3), self.root / "whole.npz")
        config = self.config(weights=str(self.root / "whole.npz"), classes="own", dataset=str(self.folder))
        named = tiny.network().with_spec(class_names=("blue sky", "green grass", "red roof"))
        setup = prepare(config, named)
        self.assertEqual(new_layers(config, setup), ())
        jax.tree.map(np.testing.assert_array_equal, calibrate(config, setup), setup.params)


if __name__ == "__main__":
    absltest.main()
