import dataclasses
import hashlib
import pathlib
import re

from absl.testing import absltest, parameterized

from cwcf_jax.weights import catalogue
from cwcf_jax.weights.catalogue import CatalogueError, Hash
from tests.support import shared

VALID = {
    "network": '"googlenet"',
    "layout": '"caffe"',
    "file": '"a.caffemodel"',
    "url": '"https://example.org/a.caffemodel"',
    "hash": f'"sha1:{"0a" * 20}"',
    "size": "10",
    "licence": '"BSD"',
    "preprocessing": '{channels = "BGR", mean = [104, 117.5, 123], scale = [1, 1, 1.0]}',
    "paper": '"Somebody"',
    "note": '"There is no hash."',
}
TORCHVISION = {"R": (0.485, 0.229), "G": (0.456, 0.224), "B": (0.406, 0.225)}


def entry_text(name="some", **changed):
    fields = {key: value for key, value in (VALID | changed).items() if value is not None}
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in fields.items())]) + "\n"


class ReaderTest(parameterized.TestCase):
    def read(self, text):
        path = pathlib.Path(self.create_tempdir().full_path) / "catalogue.toml"
        path.write_text(text)
        return catalogue.read_catalogue(path)

    def assert_refused(self, text, *parts):
        with self.assertRaises(CatalogueError) as context:
            self.read(text)
        for part in ("catalogue.toml", *parts):
            self.assertIn(part, str(context.exception))

    def test_valid_entry(self):
        entry = self.read(entry_text())["some"]
        self.assertEqual(entry.hash, Hash("sha1", "0a" * 20))
        self.assertEqual(entry.preprocessing.mean, (104.0, 117.5, 123.0))
        self.assertEqual((entry.name, entry.size, entry.algorithm), ("some", 10, "sha1"))

    def test_hash_and_size_may_be_absent(self):
        entry = self.read(entry_text(hash=None, size=None))["some"]
        self.assertIsNone(entry.hash)
        self.assertIsNone(entry.size)
        self.assertEqual(entry.algorithm, "sha256")

    def test_the_note_explains_a_missing_hash(self):
        self.assert_refused(entry_text(hash=None, note='"Nothing to say."'), "[some]", "hash")

    @parameterized.parameters(*(key for key in VALID if key not in ("hash", "size")))
    def test_missing_field(self, key):
        self.assert_refused(entry_text(**{key: None}), "[some]", f"lacks {key}")

    @parameterized.parameters(
        ("licences", '"BSD"', "licences"),
        ("network", '"lenet"', "lenet"),
        ("network", "1", "network"),
        ("layout", '"onnx"', "onnx"),
        ("licence", '" "', "licence"),
        ("paper", '"a\\nb"', "paper"),
        ("file", '"../a"', "../a"),
        ("file", '".a"', ".a"),
        ("file", '"a.partial"', "a.partial"),
        ("file", '"a.lock"', "a.lock"),
        ("url", '"ftp://example.org/a"', "ftp"),
        ("url", '"file:///etc/passwd"', "file:"),
        ("url", '"https:///a"', "https"),
        ("url", '"https://example.org/a b"', "a b"),
        ("url", '"https://user:word@example.org/a"', "user"),
        ("url", '"https://[/a"', "https"),
        ("size", "0", "size"),
        ("size", "-3", "size"),
        ("size", "3.0", "size"),
        ("size", "true", "size"),
        ("hash", '"sha256:0a"', "sha256:0a"),
        ("hash", f'"sha256-prefix:{"0" * 7}"', "sha256-prefix"),
        ("hash", f'"md5:{"0A" * 16}"', "md5"),
        ("hash", f'"{"0a" * 32}"', "0a0a"),
        ("hash", f'"crc32:{"0" * 8}"', "crc32"),
        ("preprocessing", '"BGR"', "preprocessing"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1, 1]}', "lacks scale"),
        ("preprocessing", '{channels = "GBR", mean = [1, 1, 1], scale = [1, 1, 1]}', "GBR"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1], scale = [1, 1, 1]}', "mean"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1, 256], scale = [1, 1, 1]}', "256"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1, nan], scale = [1, 1, 1]}', "nan"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1, 1], scale = [1, 0, 1]}', "scale"),
        ("preprocessing", '{channels = "BGR", mean = [1, 1, 1], scale = [1, 1, 1], std = 1}', "std"),
    )
    def test_malformed_field(self, key, value, part):
        self.assert_refused(entry_text(**{key: value}), "[some]", part)

    def test_not_a_table_of_tables(self):
        self.assert_refused("some = 1\n", "[some]", "not a table")
        self.assert_refused(entry_text("Some"), "[Some]", "lower-case")
        self.assert_refused("[some", "")
        self.assert_refused(entry_text() + entry_text(), "")

    def test_two_entries_with_the_same_file(self):
        self.assert_refused(entry_text() + entry_text("other", file='"A.caffemodel"'), "[other]", "[some]")
        self.assertLen(self.read(entry_text() + entry_text("other", file='"b.caffemodel"')), 2)

    def test_hash_matches(self):
        self.assertTrue(Hash("sha256", "0a" * 4, prefix=True).matches("0a" * 32))
        self.assertFalse(Hash("sha256", "0a" * 4, prefix=True).matches("1a" + "0a" * 31))
        self.assertFalse(Hash("md5", "0a" * 16).matches("0a" * 15 + "0b"))
        self.assertFalse(Hash("sha256", "0a" * 31 + "00").matches("0a" * 31))


class EntriesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.entries = catalogue.read_catalogue()

    def test_every_network_but_one_has_weights(self):
        networks = {entry.network for entry in self.entries.values()}
        self.assertEqual(set(catalogue.NETWORKS) - networks, {"decomposeme"})

    def test_addresses_end_in_the_file(self):
        for name, entry in self.entries.items():
            if name != "vgg16_cam_keras":
                self.assertEndsWith(entry.url, f"/{entry.file}")

    def test_file_names_of_torchvision_have_the_hash(self):
        entries = [entry for entry in self.entries.values() if entry.layout == "torchvision"]
        self.assertNotEmpty(entries)
        for entry in entries:
            digits = re.fullmatch(r"\w+-([0-9a-f]{8})\.pth", entry.file)
            self.assertEqual((entry.hash.algorithm, entry.hash.digits[:8]), ("sha256", digits[1]), entry.name)

    def test_suffix_and_preprocessing_fit_the_layout(self):
        suffixes = {"caffe": ".caffemodel", "keras": ".h5", "torchvision": ".pth"}
        for name, entry in self.entries.items():
            self.assertEndsWith(entry.file, suffixes[entry.layout], name)
            channels, mean, scale = dataclasses.astuple(entry.preprocessing)
            if entry.layout == "torchvision":
                for channel, centre, factor in zip(channels, mean, scale, strict=True):
                    expected, deviation = TORCHVISION[channel]
                    self.assertAlmostEqual(centre, 255 * expected, places=4, msg=name)
                    self.assertAlmostEqual(factor, 1 / (255 * deviation), places=8, msg=name)
            else:
                self.assertEqual((channels, scale), ("BGR", (1.0, 1.0, 1.0)), name)
                self.assertEqual(mean, tuple(sorted(mean)), name)  # blue is the darkest channel, red the brightest

    def test_one_mean_per_network_and_channel_order(self):
        means = {}
        for entry in self.entries.values():
            key = entry.network.partition("_cam")[0], entry.preprocessing.channels
            self.assertEqual(means.setdefault(key, entry.preprocessing), entry.preprocessing, entry.name)

    def test_the_file_in_the_shared_data(self):
        path = shared.require("weights/squeezenet_v1.1_keras_notop.h5")
        entry = self.entries["squeezenet1_1_keras_notop"]
        digest = hashlib.new(entry.algorithm, path.read_bytes())
        self.assertTrue(entry.hash.matches(digest.hexdigest()))
        self.assertEqual(entry.size, path.stat().st_size)


if __name__ == "__main__":
    absltest.main()
