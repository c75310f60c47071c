"""What drivers start from when they are told little, and what ships for that."""

import json
import pathlib
from unittest import mock

from absl import flags
from absl.testing import absltest, flagsaver

from cwcf_jax import networks
from experiments import ablation, data, inputs, settings, synthetic
from tests.support import shared

FLAGS = flags.FLAGS
METHODS = ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA", "OfA", "OnA", "Predefined")
LEAST = dict(queries=1, views=3, lookalikes=1, distractors=3, side=96)


class NetworkTest(absltest.TestCase):
    def test_follows_the_record_of_the_weights(self):
        with flagsaver.flagsaver(network=None, weights=str(inputs.SHIPPED)):
            spec = inputs.network_from_flags().spec
        self.assertEqual(spec.name, "vgg_small_cam")
        self.assertEqual(networks.class_names(spec), synthetic.OBJECT_CLASSES)

    def test_weights_without_a_record_need_a_name(self):
        weights = str(shared.require("weights/squeezenet_v1.1.npz"))
        with (
            flagsaver.flagsaver(network=None, weights=weights),
            self.assertRaisesRegex(
                ValueError, "does not say which network it is of; write NETWORK:.*, or --network for --weights"
            ),
        ):
            inputs.network_from_flags()
        with flagsaver.flagsaver(network="squeezenet1_1", weights=weights):
            self.assertEqual(inputs.network_from_flags().spec.name, "squeezenet1_1")
        with flagsaver.flagsaver(network=None, weights=f"squeezenet1_1:{weights}"):
            self.assertEqual(inputs.network_from_flags().spec.name, "squeezenet1_1")

    def test_record_of_another_network(self):
        with (
            flagsaver.flagsaver(network="googlenet", weights=str(inputs.SHIPPED)),
            self.assertRaisesRegex(ValueError, "weights of vgg_small_cam, not of googlenet"),
        ):
            inputs.network_from_flags()

    def test_the_papers_classes_are_those_of_imagenet(self):
        with (
            flagsaver.flagsaver(network=None, weights=str(inputs.SHIPPED), predefined_classes=["paper"]),
            self.assertRaisesRegex(ValueError, "--predefined_classes=paper are ImageNet's"),
        ):
            settings.from_flags()


class ShippedTest(absltest.TestCase):
    def test_weights(self):
        self.assertLessEqual(inputs.SHIPPED.stat().st_size, 4 * 2**20)
        record = networks.read_provenance(inputs.SHIPPED)
        self.assertEqual(record.licence, "Apache-2.0")
        self.assertIn("trained by experiments.train_cam", record.source)
        # A hundred classes, seen in pictures that were held out.
        self.assertGreater(record.notes["result"]["eval_top1"], 0.3)
        networks.load_params(networks.adapt(networks.get(record.network), record), inputs.SHIPPED)

    def test_ablation_on_small_synthetic_sets(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        small = {
            "synthetic": LEAST | dict(seed=1, landmarks=2),
            "synthetic_whitening": LEAST | dict(seed=2, landmarks=2),
        }
        with mock.patch.dict(data.SYNTHETIC, small), flagsaver.flagsaver():
            FLAGS(["ablation", "--nc=1,8", "--npca=1", f"--cache={folder / 'cache'}", f"--output={folder / 'out'}"])
            ablation.main(["ablation"])
        content = json.loads((folder / "out" / "results.json").read_text())
        self.assertEqual(content["network"], "vgg_small_cam")
        self.assertEqual([dataset["images"] for dataset in content["data"]], [11, 11])
        self.assertEqual(content["protocol"]["name"], "development")
        self.assertCountEqual({row["method"] for row in content["rows"]}, METHODS)


if __name__ == "__main__":
    absltest.main()
