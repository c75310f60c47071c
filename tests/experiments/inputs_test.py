"""These tests check the networks, weights and datasets of drivers that have few flags or none."""

import json
import os
import pathlib
import shutil
from unittest import mock

from absl.testing import absltest

from cwcf_jax import networks
from experiments import data, inputs, run_flags, settings
from experiments.weights import weights_of
from tests.experiments import drivers
from tests.support import indexes, shared, thin
from tests.support.slow import slow

METHODS = ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA", "OfA", "OnA", "Predefined")
SMALLEST = dict(queries=1, views=3, lookalikes=1, distractors=3, side=96)


class NetworkTest(absltest.TestCase):
    def network(self, *arguments):
        run = run_flags.from_flags(drivers.parse("experiments.ablation", *arguments))
        return weights_of(run.weights, run.network).network

    def test_follows_the_record_of_the_weights(self):
        spec = self.network(f"--weights={indexes.WEIGHTS}").spec
        self.assertEqual(spec.name, thin.NAME)
        self.assertEqual(networks.class_names(spec), thin.CLASSES)

    def test_weights_without_a_record_need_a_name(self):
        weights = shared.require("weights/squeezenet_v1.1.npz")
        with self.assertRaisesRegex(ValueError, "does not name its network; write NETWORK:.*, or name it by --network"):
            self.network(f"--weights={weights}")
        self.assertEqual(self.network("--network=squeezenet1_1", f"--weights={weights}").spec.name, "squeezenet1_1")
        self.assertEqual(self.network(f"--weights=squeezenet1_1:{weights}").spec.name, "squeezenet1_1")

    def test_record_of_another_network(self):
        with self.assertRaisesRegex(ValueError, "weights of thin_cam, not of googlenet"):
            self.network("--network=googlenet", f"--weights={indexes.WEIGHTS}")

    def test_a_network_alone_is_looked_for(self):
        caches = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(caches)))
        folder = caches / "cwcf" / "weights"
        for arguments in (["--network=googlenet"], ["--weights=googlenet"]):
            with self.assertRaisesRegex(FileNotFoundError, f"in {folder}: `cwcf weights fetch googlenet_bvlc`"):
                self.network(*arguments)
        folder.mkdir(parents=True)
        shutil.copy(indexes.WEIGHTS, folder)
        run = run_flags.from_flags(drivers.parse("experiments.ablation", "--weights=thin_cam"))
        weights = weights_of(run.weights, run.network)
        self.assertIsNone(weights.file)
        self.assertEqual(weights.fingerprint(), networks.fingerprint(indexes.WEIGHTS))
        self.assertEqual(weights.network.spec, self.network(f"--weights={indexes.WEIGHTS}").spec)
        self.assertEqual(inputs.load_model(run, weights).network.spec, weights.network.spec)

    def test_where_nothing_is_said(self):
        spec = self.network().spec
        self.assertEqual((spec.name, spec.feature_layer), ("efficientnet_lite2", "expansion16"))
        cases = ([], "development + whitening_dim=160"), (["--protocol=development"], "development")
        for arguments, expected in cases:
            run = run_flags.from_flags(drivers.parse("experiments.ablation", *arguments))
            self.assertEqual((run.dataset, str(run.protocol)), ("synthetic", expected))

    def test_the_papers_classes_are_those_of_imagenet(self):
        values = drivers.parse("experiments.ablation", "--predefined_classes=paper")
        with self.assertRaisesRegex(ValueError, "--predefined_classes=paper are classes of ImageNet"):
            settings.from_flags(values, self.network(f"--weights={indexes.WEIGHTS}").spec, smoke=False)

    def test_further_weights_are_of_their_own_network(self):
        arguments = ("--network=googlenet", "--feature_layer=conv4", "--dtype=bfloat16", "--smoke")
        run = run_flags.from_flags(drivers.parse("experiments.ablation", *arguments)).of_weights("vgg16_cam:more.npz")
        self.assertEqual((run.weights, run.network, run.feature_layer), ("vgg16_cam:more.npz", None, None))
        self.assertEqual((run.dtype, run.smoke), ("bfloat16", True))


@slow
class WithoutFlagsTest(absltest.TestCase):
    def test_ablation_on_small_synthetic_sets(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        small = {
            "synthetic": SMALLEST | dict(seed=1, landmarks=2),
            "synthetic_whitening": SMALLEST | dict(seed=2, landmarks=2),
        }
        with mock.patch.dict(data.SYNTHETIC, small):
            drivers.run("--nc=1,8", "--npca=1", f"--cache={folder / 'cache'}", f"--output={folder / 'out'}")
        content = json.loads((folder / "out" / "results.json").read_text())
        self.assertEqual(content["network"], "efficientnet_lite2")
        self.assertEqual([dataset["images"] for dataset in content["data"]], [11, 11])
        self.assertEqual(content["protocol"]["name"], "development")
        self.assertCountEqual({row["method"] for row in content["rows"]}, METHODS)


if __name__ == "__main__":
    absltest.main()
