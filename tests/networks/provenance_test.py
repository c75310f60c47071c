"""This test reads and writes provenance records, alone and inside checkpoints."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.networks import CheckpointError, Preprocessing, Provenance
from cwcf_jax.networks.provenance import RECORD
from tests.weights.formats import mutations

PREPROCESSING = Preprocessing("RGB", (1.5, 2.0, -3.0), (0.5, 1.0, 2.0))
IMPORTED = Provenance("squeezenet1_1", "https://example.org/é.pth", "ab" * 32, "MIT", PREPROCESSING, layout="caffe")
TRAINED = dataclasses.replace(
    IMPORTED, num_classes=3, class_names=("ä", "b b", ""), complete=False, notes={"top-1": 0.5, "versions": ["1", None]}
)


def _changed(**changes):
    content = json.loads(IMPORTED.to_json()) | changes
    return json.dumps({key: value for key, value in content.items() if value is not ...})


def _preprocessing(**changes):
    return _changed(preprocessing=json.loads(IMPORTED.to_json())["preprocessing"] | changes)


class JsonTest(parameterized.TestCase):
    @parameterized.parameters(IMPORTED, TRAINED)
    def test_round_trip(self, record):
        self.assertEqual(Provenance.from_json(record.to_json()), record)

    def test_fields_with_defaults_may_be_absent(self):
        content = json.loads(IMPORTED.to_json())
        for name in ("num_classes", "class_names", "layout", "complete", "notes"):
            del content[name]
        self.assertEqual(Provenance.from_json(json.dumps(content)), dataclasses.replace(IMPORTED, layout=""))

    @parameterized.parameters(
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "no network; no source; no sha256; no licence; no preprocessing"),
        (_changed(network=5), "network: 5"),
        (_changed(colour="red"), "unknown colour"),
        (_changed(sha256=None), "sha256: None"),
        (_changed(num_classes="many"), "num_classes: 'many'"),
        (_changed(num_classes=1e400), "num_classes: inf"),
        (_changed(num_classes=True), "num_classes: True"),
        (_changed(num_classes=7), "1000 class names for 7 classes"),
        (_changed(class_names=["a"], num_classes=2), "1 class names for 2 classes"),
        (_changed(class_names=[], num_classes=0), r"class_names: \[\]"),
        (_changed(class_names=[1], num_classes=1), r"class_names: \[1\]"),
        (_changed(class_names="../../secret"), "class_names: '../../secret'"),
        (_changed(complete="no"), "complete: 'no'"),
        (_changed(notes="none"), "notes: 'none'"),
        (_changed(preprocessing=...), "no preprocessing"),
        (_changed(preprocessing=[]), "preprocessing: "),
        (_preprocessing(channel_order="GBR"), "preprocessing: "),
        (_preprocessing(channel_order=["RGB"]), "preprocessing: "),
        (_preprocessing(mean=[1, 2]), "preprocessing: "),
        (_preprocessing(mean=[1, 2, "3"]), "preprocessing: "),
        (_preprocessing(mean=[1, 2, float("nan")]), "preprocessing: "),
        (_preprocessing(scale=[1, 2, 10**400]), "preprocessing: "),
        (_preprocessing(scale=1.0), "preprocessing: "),
        (_preprocessing(std=[1, 2, 3]), "preprocessing: "),
    )
    def test_malformed(self, text, message):
        with self.assertRaisesRegex(ValueError, message):
            Provenance.from_json(text)


class AdaptTest(absltest.TestCase):
    def test_classes_and_preprocessing(self):
        network = networks.get("squeezenet1_1")
        adapted = networks.adapt(network, TRAINED)
        self.assertEqual((adapted.spec.num_labels, adapted.spec.class_names), (3, ("ä", "b b", "")))
        self.assertEqual(adapted.spec.preprocessing, PREPROCESSING)
        self.assertEqual(adapted.shapes()["conv10"]["kernel"].shape, (1, 1, 512, 3))
        self.assertEqual(networks.adapt(network, IMPORTED).spec.num_labels, 1000)

    def test_without_a_record_nothing_changes(self):
        network = networks.get("squeezenet1_1")
        self.assertIs(networks.adapt(network, None), network)

    def test_another_network(self):
        with self.assertRaisesRegex(ValueError, "these are weights of squeezenet1_1, not of googlenet"):
            networks.adapt(networks.get("googlenet"), IMPORTED)


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.network = networks.adapt(networks.get("squeezenet1_1"), TRAINED)
        self.params = self.network.initialize(1)

    @parameterized.parameters("weights.npz", "weights")
    def test_record_and_parameters_come_back(self, name):
        networks.save_params(self.params, self.folder / name, TRAINED)
        self.assertEqual(networks.read_provenance(self.folder / name), TRAINED)
        network = networks.adapt(networks.get("squeezenet1_1"), networks.read_provenance(self.folder / name))
        jax.tree.map(np.testing.assert_array_equal, networks.load_params(network, self.folder / name), self.params)

    @parameterized.parameters("weights.npz", "weights")
    def test_no_record(self, name):
        networks.save_params(self.params, self.folder / name)
        self.assertIsNone(networks.read_provenance(self.folder / name))
        self.assertIsNone(networks.read_provenance(self.folder / "nowhere"))

    def test_half_precision_is_kept_in_the_file(self):
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), self.params)
        networks.save_params(half, self.folder / "half.npz", TRAINED)
        with np.load(self.folder / "half.npz") as archive:
            self.assertEqual(archive["conv1/kernel"].dtype, np.float16)
        loaded = networks.load_params(self.network, self.folder / "half.npz")
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(jnp.float32)), loaded, half)
        self.assertEqual({leaf.dtype for leaf in jax.tree.leaves(loaded)}, {jnp.dtype(jnp.float32)})

    def test_records_that_cannot_be_read(self):
        networks.save_params({"conv1": self.params["conv1"]}, self.folder / "folder", TRAINED)
        for content in (b"\xff", b"{}", b"[" * 100_000):
            (self.folder / "folder" / RECORD).write_bytes(content)
            with self.assertRaisesRegex(CheckpointError, "folder holds a provenance record that cannot be read: "):
                networks.read_provenance(self.folder / "folder")
        for value in (np.array("no"), np.array(3.0), np.array([1, 2])):
            np.savez(self.folder / "file.npz", **{RECORD: value})
            with self.assertRaisesRegex(CheckpointError, "file.npz holds a provenance record that cannot be read: "):
                networks.read_provenance(self.folder / "file.npz")

    def test_damaged_files(self):
        """Checks that damaged files give a record, None or CheckpointError, and that each outcome occurs."""
        file = self.folder / "weights.npz"
        networks.save_params({"conv1": {"bias": jnp.ones(5)}}, file, TRAINED)
        outcomes = {"read": 0, "without": 0, "refused": 0}
        for number, content in enumerate(mutations.mutations(file.read_bytes(), 120, seed=5)):
            damaged = self.folder / f"{number}.npz"
            damaged.write_bytes(content)
            try:
                outcomes["without" if networks.read_provenance(damaged) is None else "read"] += 1
            except CheckpointError as error:
                self.assertIn(str(damaged), str(error))
                outcomes["refused"] += 1
        self.assertGreater(min(outcomes.values()), 0, outcomes)


if __name__ == "__main__":
    absltest.main()
