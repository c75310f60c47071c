import dataclasses
import json
import os
import pathlib
import shutil
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

import cwcf_jax
from cwcf_jax import networks
from cwcf_jax.index import IndexConfig, make_index_config
from cwcf_jax.index.index_config import Header, load_model, read_header
from cwcf_jax.weights.installed import DEFAULT_NETWORK
from tests.support import indexes, whitenings

CONFIG = IndexConfig("thin_cam", "/somewhere/weights.npz", "conv4_1", "max320", num_classes=3, dim=7)


class MakeIndexConfigTest(parameterized.TestCase):
    def test_the_record_of_the_weights_names_the_network(self):
        actual = make_index_config(indexes.WEIGHTS, dim=7)
        self.assertEqual(actual, IndexConfig("thin_cam", str(indexes.WEIGHTS), dim=7))
        self.assertEqual(make_index_config(indexes.WEIGHTS, "vgg16_cam").network, "vgg16_cam")

    def test_weights_without_a_record(self):
        file = pathlib.Path(self.create_tempdir().full_path, "bare.npz")
        np.savez(file, kernel=np.zeros(3))
        with self.assertRaisesRegex(ValueError, "bare.npz does not say which network it is of; name it: .*thin_cam"):
            make_index_config(file)
        self.assertEqual(make_index_config(file, "thin_cam").network, "thin_cam")

    def test_no_weights(self):
        with self.assertRaisesRegex(FileNotFoundError, "missing.npz: no such weights"):
            make_index_config("missing.npz")

    def test_defaults_that_suit_the_shipped_whitening(self):
        model = cwcf_jax.load("thin_cam", indexes.WEIGHTS, pooling="gem")
        without_whitening = make_index_config(indexes.WEIGHTS)
        whitenings.ship(self, model)
        actual = make_index_config(indexes.WEIGHTS, resize="none")
        self.assertEqual((actual.pooling, actual.num_classes, actual.dim, actual.resize), ("gem", 8, 0, "none"))
        actual = make_index_config(indexes.WEIGHTS, num_classes=3, dim=5, pooling="gem")
        self.assertEqual((actual.pooling, actual.num_classes, actual.dim), ("gem", 3, 5))
        self.assertEqual(make_index_config(indexes.WEIGHTS, pooling="sum"), without_whitening)
        self.assertEqual(
            (without_whitening.pooling, without_whitening.num_classes, without_whitening.dim), ("sum", 64, 256)
        )

    def test_the_default_network(self):
        actual = make_index_config()
        self.assertEqual(
            (actual.network, actual.pooling, actual.num_classes, actual.dim), (DEFAULT_NETWORK, "gem", 8, 0)
        )

    def test_an_index_without_a_pooling_has_sums(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        Header("..", IndexConfig("efficientnet_lite2", num_classes=64, dim=256), "abc").write(folder)
        content = json.loads((folder / "index.json").read_text())
        del content["settings"]["pooling"]  # as in earlier versions
        (folder / "index.json").write_text(json.dumps(content))
        actual = read_header(folder).config
        self.assertEqual((actual.pooling, actual.num_classes, actual.dim), ("sum", 64, 256))

    @parameterized.parameters(
        ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
        ({"dim": -1}, "dim must be at least 1, or 0 for all, not -1"),
        ({"own_classes": -1}, "own_classes is a number of classes, or 0 for all, not -1"),
        ({"store": "/mnt/store"}, "a store is an address such as s3://bucket/folder, not /mnt/store"),
        ({"resize": "big"}, "unknown resize 'big'"),
        ({"pooling": "mean"}, "unknown pooling 'mean'; known: sum, gem"),
    )
    def test_invalid_choices(self, choice, message):
        with self.assertRaisesRegex(ValueError, message):
            make_index_config(indexes.WEIGHTS, **choice)


class HeaderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    @settings(max_examples=30, deadline=None)
    @given(st.text(), st.integers(0, 2**40), st.lists(st.text()))
    def test_write_and_read(self, root, generation, removed):
        header = Header(root, CONFIG, "abc", generation, tuple(removed))
        header.write(self.folder)
        self.assertEqual(read_header(self.folder), header)
        self.assertEqual([file.name for file in self.folder.iterdir()], ["index.json"])

    def test_conditions_of_maps(self):
        conditions = Header("..", CONFIG, "abc").conditions()
        for change in ({"feature_layer": "conv3_1"}, {"resize": "max640"}):
            other = Header("..", dataclasses.replace(CONFIG, **change), "abc")
            self.assertNotEqual(other.conditions(), conditions)
        self.assertNotEqual(Header("..", CONFIG, "def").conditions(), conditions)
        for change in ({"num_classes": 9}, {"dim": 9}):
            other = Header("/elsewhere", dataclasses.replace(CONFIG, **change), "abc", 3, ("gone",))
            self.assertEqual(other.conditions(), conditions)

    def test_an_index_of_an_earlier_version_has_all_classes(self):
        Header("..", CONFIG, "abc").write(self.folder)
        content = json.loads((self.folder / "index.json").read_text())
        del content["settings"]["own_classes"], content["settings"]["compact"]
        (self.folder / "index.json").write_text(json.dumps(content))
        actual = read_header(self.folder).config
        self.assertEqual((actual.own_classes, actual.compact), (0, False))

    def test_a_failed_write_leaves_the_earlier_header(self):
        header = Header("..", CONFIG, "abc")
        header.write(self.folder)
        with mock.patch("os.fsync", side_effect=OSError("disk full")), self.assertRaisesRegex(OSError, "disk full"):
            dataclasses.replace(header, generation=7).write(self.folder)
        self.assertEqual(read_header(self.folder), header)

    def test_no_index(self):
        with self.assertRaisesRegex(FileNotFoundError, f"no index in {self.folder}; make one with cwcf index"):
            read_header(self.folder)

    @parameterized.parameters(
        *(("",), ("{",), ("[]",), ("7",), ("null",), ("{}",), (b"\xff\xfe",)),
        *(({"format": 2},), ({"strange": 1},), ({"removed": 3},), ({"settings": {}},)),
        ({"settings": {"network": "x", "weights": "y", "dim": -1}},),
    )
    def test_a_damaged_header_is_named(self, change):
        Header("..", CONFIG, "abc").write(self.folder)
        file = self.folder / "index.json"
        if isinstance(change, dict):
            change = json.dumps(json.loads(file.read_text()) | change)
        file.write_bytes(change if isinstance(change, bytes) else change.encode())
        with self.assertRaisesRegex(ValueError, f"{file} cannot be used .*remove {self.folder} and index again"):
            read_header(self.folder)


class LoadModelTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.weights = pathlib.Path(self.create_tempdir().full_path, "weights.npz")
        shutil.copy(indexes.WEIGHTS, self.weights)
        self.config, self.fingerprint = make_index_config(self.weights), networks.fingerprint(self.weights)

    def load(self, **changes):
        model, fingerprint = load_model(dataclasses.replace(self.config, **changes), self.fingerprint)
        self.assertEqual(fingerprint, self.fingerprint)
        return model

    def test_the_layer_is_the_networks_unless_it_is_named(self):
        self.assertEqual(self.load().config.feature_layer, "conv4_1")
        self.assertEqual(self.load(feature_layer="conv3_1").config.feature_layer, "conv3_1")

    def test_the_pooling(self):
        self.assertEqual(self.load().config.pooling, "sum")
        self.assertEqual(self.load(pooling="gem").config.pooling, "gem")

    def test_changed_weights(self):
        self.weights.write_bytes(self.weights.read_bytes() + b"\0")
        with self.assertRaisesRegex(ValueError, "has changed since the index was created: sha256 .* then, .* now. Put"):
            self.load()

    def test_weights_that_are_found(self):
        caches = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(caches)))
        config = make_index_config(network="thin_cam")
        self.assertEqual((config.network, config.weights), ("thin_cam", ""))
        with self.assertRaisesRegex(FileNotFoundError, "no weights of thin_cam are in"):
            load_model(config)
        cache = caches / "cwcf" / "weights"
        cache.mkdir(parents=True)
        shutil.copy(indexes.WEIGHTS, cache / "z.npz")
        _, fingerprint = load_model(config)
        self.assertEqual(fingerprint, networks.fingerprint(indexes.WEIGHTS))
        record = networks.read_provenance(indexes.WEIGHTS)
        other = networks.adapt(networks.get("thin_cam"), record).initialize(1)
        networks.save_params(other, cache / "a.npz", record)  # the first file of the search
        (actual, actual_fingerprint), expected = load_model(config, fingerprint), self.load()
        self.assertEqual(actual_fingerprint, fingerprint)
        jax.tree.map(np.testing.assert_array_equal, actual.params, expected.params)
        self.assertEqual((actual.network.spec, actual.config), (expected.network.spec, expected.config))
        (cache / "z.npz").unlink()
        with self.assertRaisesRegex(FileNotFoundError, f"with sha256 {fingerprint[:12]}... are in"):
            load_model(config, fingerprint)

    def test_without_weights_and_network(self):
        with mock.patch.dict(networks.NETWORKS, {DEFAULT_NETWORK: networks.get("thin_cam")}):
            self.assertEqual(make_index_config(num_classes=3), IndexConfig("thin_cam", num_classes=3))
        with self.assertRaisesRegex(ValueError, "unknown network 'nothing'"):
            make_index_config(network="nothing")

    def test_deleted_weights(self):
        self.weights.unlink()
        with self.assertRaisesRegex(FileNotFoundError, "the weights of this index do not exist"):
            self.load()


if __name__ == "__main__":
    absltest.main()
