"""This test writes, reads and refuses checkpoints."""

import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.networks import CheckpointError
from tests.support import shared


class CheckpointTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.network = networks.get("googlenet")
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def _released(self):
        with np.load(shared.require("weights/googlenet_bvlc.npz")) as archive:
            return dict(archive)

    def _refused(self, arrays):
        np.savez(self.folder / "weights.npz", **arrays)
        with self.assertRaises(CheckpointError) as caught:
            networks.load_params(self.network, self.folder / "weights.npz")
        return str(caught.exception)

    @parameterized.parameters("params.npz", "params")
    def test_round_trip(self, name):
        params = self.network.initialize(3)
        networks.save_params(params, self.folder / name)
        loaded = networks.load_params(self.network, self.folder / name)
        jax.tree.map(np.testing.assert_array_equal, loaded, params)
        with self.assertRaisesRegex(FileExistsError, "remove it or write elsewhere"):
            networks.save_params(params, self.folder / name)

    def test_released_layout_is_transposed(self):
        arrays = self._released()
        params = networks.load_params(self.network, shared.require("weights/googlenet_bvlc.npz"))
        kernel = arrays["inception_4c/5x5/W"]  # [out, in, y, x], 64 x 24 x 5 x 5
        self.assertEqual(params["inception_4c"]["conv5x5"]["kernel"][1, 3, 7, 50], kernel[50, 7, 1, 3])
        self.assertEqual(params["classifier"]["kernel"][1023, 998], arrays["loss3/classifier/W"][998, 1023])

    def test_every_fault_is_named_at_once(self):
        arrays = self._released()
        del arrays["conv1/7x7_s2/b"], arrays["inception_5b/1x1/W"]
        arrays["loss9/classifier/W"] = np.zeros((1000, 1024), np.float32)
        arrays["loss1/fc/b"] = np.zeros(1024, np.float32)  # listed in WeightLayout.ignored
        arrays["conv2/3x3/b"] = np.zeros(64, np.float32)
        arrays["inception_3a/1x1/b"] = np.full(64, np.nan, np.float32)
        arrays["inception_3b/1x1/b"] = np.zeros(128, np.int32)
        message = self._refused(arrays)
        for fault in (
            "missing conv1/7x7_s2/b, for conv1/bias",
            "missing inception_5b/1x1/W, for inception_5b/conv1x1/kernel",
            "unmapped loss9/classifier/W (1000, 1024)",
            "mis-shaped conv2/3x3/b (64,): (64,) for conv2/bias (192,)",
            "not finite inception_3a/1x1/b",
            "not floating point inception_3b/1x1/b: int32",
        ):
            self.assertIn(fault, message)
        self.assertNotIn("loss1", message)

    def test_another_networks_weights(self):
        message = self._refused({"conv1_1/W": np.zeros((64, 3, 3, 3), np.float32)})
        self.assertIn("does not hold googlenet", message)
        self.assertIn("unexpected conv1_1/W", message)

    @parameterized.parameters(b"", b"PK\x03\x04", b"not weights at all", b"\x93NUMPY\x01\x00")
    def test_other_files_are_refused(self, content):
        file = self.folder / "weights.npz"
        file.write_bytes(content)
        with self.assertRaisesRegex(CheckpointError, "weights.npz is not a readable .npz file"):
            networks.load_params(self.network, file)

    def test_a_single_array_is_refused(self):
        np.save(self.folder / "array.npy", np.zeros(3))
        with self.assertRaisesRegex(CheckpointError, "array.npy is not a readable .npz file"):
            networks.load_params(self.network, self.folder / "array.npy")

    def test_pickles_are_not_run(self):
        np.savez(self.folder / "weights.npz", conv1=np.array([print], dtype=object))
        with self.assertRaisesRegex(CheckpointError, "weights.npz is not a readable"):
            networks.load_params(self.network, self.folder / "weights.npz")

    def test_a_missing_file_and_another_folder_are_refused(self):
        with self.assertRaisesRegex(FileNotFoundError, "no weights at .*nowhere.npz; `cwcf weights list`"):
            networks.load_params(self.network, self.folder / "nowhere.npz")
        with self.assertRaisesRegex(CheckpointError, "is not an Orbax checkpoint"):
            networks.load_params(self.network, self.folder)

    def test_fingerprint_follows_the_content(self):
        first, second = self.folder / "a.npz", self.folder / "b.npz"
        first.write_bytes(b"one")
        second.write_bytes(b"one")
        self.assertEqual(networks.fingerprint(first), networks.fingerprint(second))
        second.write_bytes(b"two")
        self.assertNotEqual(networks.fingerprint(first), networks.fingerprint(second))
        self.assertLen(networks.fingerprint(self.folder), 64)
        self.assertEqual(networks.fingerprint(second), hashlib.sha256(b"two").hexdigest())

    def test_bfloat16_parameters_come_back(self):
        params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.bfloat16), self.network.initialize(0))
        networks.save_params(params, self.folder / "half.npz")
        loaded = networks.load_params(self.network, self.folder / "half.npz")
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float32)), loaded, params)


if __name__ == "__main__":
    absltest.main()
