"""This module tests `finding.find` with packages, damaged or unwritable caches, and several processes."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import re
import subprocess
import sys
import time
import warnings

import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import files, networks
from cwcf_jax.version import __version__
from cwcf_jax.weights import finding
from cwcf_jax.weights.formats import FormatError
from cwcf_jax.weights.installed import PackageError
from tests.support import shared
from tests.weights import foreign, packaged
from tests.weights.find_case import DATA, NETWORK, OTHER_DATA, FindCase
from tests.weights.formats import writers

OTHER_PROCESS = """
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
weights = finding.find(network, folder=folder, packages={"tiny_cam": package})
kernel = weights.params["conv1_1"]["kernel"].tobytes()
print(finding.conversion_path("tiny_cam", package.sha256, folder).stat().st_ino, hashlib.sha256(kernel).hexdigest())
"""


class PackageTest(FindCase):
    def test_a_package_is_converted_once(self):
        self.install()
        first = self.find()
        self.check(first)
        self.check_target()
        (self.folder / "site" / packaged.FILE).unlink()  # not needed any more
        state = self.target.stat()
        second = self.find()
        self.check(second)
        self.assertEqual((second.record, second.fingerprint), (first.record, first.fingerprint))
        self.assertEqual(self.target.stat(), state)

    def test_record(self):
        self.install()
        record = self.find().record
        self.assertEqual(record.source, f"tiny-weights-model 0.1.0, {packaged.FILE}")
        self.assertEqual((record.sha256, record.licence), (hashlib.sha256(DATA).hexdigest(), "BSD-3-Clause"))
        self.assertEqual(record.preprocessing, self.network.spec.preprocessing)
        version = finding.converter_version(NETWORK)
        self.assertEqual(record.notes, {"format": "npz", "paper": "Somebody", finding.CONVERTER_NOTE: version})
        self.assertRegex(version, rf"^{re.escape(__version__)} [0-9a-f]{{8}}$")
        self.assertNotEqual(version, finding.converter_version(networks.get("googlenet")))
        self.assertEqual(networks.read_provenance(self.target), record)

    def test_a_package_comes_before_the_cache(self):
        self.install()
        self.cache.mkdir()
        packaged.save_checkpoint(self.cache / "a.npz", seed=1)
        self.check(self.find())

    def test_another_version_is_never_used(self):
        self.install(OTHER_DATA)
        self.cache.mkdir()
        packaged.save_checkpoint(self.cache / "a.npz", seed=1)
        with self.assertRaisesRegex(PackageError, f"{packaged.FILE} of tiny-weights-model 0.1.0 has sha256 "):
            self.find()
        self.assertEqual([path.name for path in self.cache.iterdir()], ["a.npz"])

    def test_an_unreadable_package_leaves_no_conversion(self):
        data = b"no archive"
        self.package = packaged.package(data)
        self.install(data)
        with self.assertRaisesRegex(FormatError, f"{packaged.FILE}: not a .npz archive"):
            self.find()
        self.assertEqual({path.suffix for path in self.cache.iterdir()}, {".lock"})

    def test_pytorch_file_of_a_real_network(self):
        self.network = networks.get("squeezenet1_1")
        params, random = self.network.shapes(), np.random.default_rng(0)
        (layout,) = (layout for layout in self.network.layouts() if layout.name == "torchvision")
        state = {}
        for key, (target, _) in layout.table.items():
            shape = functools.reduce(dict.__getitem__, target.split("/"), params).shape
            state[key] = random.normal(size=np.array(shape)[[3, 2, 0, 1]] if len(shape) == 4 else shape).astype("f4")
        writers.write_pth(self.folder / "weights.pth", state)
        data, file = (self.folder / "weights.pth").read_bytes(), packaged.FILE.replace(".npz", ".pth")
        self.install(data, file=file)
        package = packaged.package(data, network="squeezenet1_1", file=file)
        for _ in range(2):
            weights = finding.find_weights(self.network, folder=self.cache, packages={"squeezenet1_1": package})
            kernel = weights.params["conv1"]["kernel"]
            np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), state["features.0.weight"])
            self.assertEqual(weights.record.layout, "torchvision")
            np.testing.assert_allclose(weights.network.spec.preprocessing.mean, foreign.TORCHVISION[1], rtol=1e-12)


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
        weights = self.find()
        self.check(weights)
        self.assertEqual(weights.fingerprint, self.package.sha256)
        self.check_target()

    def test_a_conversion_of_another_file_or_version_is_replaced(self):
        record = networks.read_provenance(self.target)
        for other_record in (
            dataclasses.replace(record, sha256="0" * 64),
            dataclasses.replace(record, notes=record.notes | {finding.CONVERTER_NOTE: "0.0.1"}),
            dataclasses.replace(record, complete=False),
        ):
            self.target.unlink()
            networks.save_params(self.network.initialize(1), self.target, other_record)
            self.check(self.find())
            self.assertEqual(networks.read_provenance(self.target), record)

    def test_a_folder_at_the_target_is_not_changed(self):
        self.target.unlink()
        self.target.mkdir()
        with self.assertWarnsRegex(UserWarning, "cannot be written"):
            self.check(self.find())

    def test_partial_files_of_killed_processes_are_removed(self):
        (self.cache / f"{self.target.name}.abc.partial").write_bytes(b"half")
        self.target.unlink()
        self.find()
        self.assertEqual({path.name for path in self.cache.iterdir()}, {self.target.name, f"{self.target.name}.lock"})

    def test_without_the_package_the_error_names_the_damaged_file(self):
        content = bytearray(self.intact)
        content[content.index(b"conv1_1/kernel.npy") + 200] ^= 1
        self.target.write_bytes(content)
        (self.folder / "site" / "tiny_weights_model").rename(self.folder / "gone")
        with self.assertRaisesRegex(FileNotFoundError, rf"pip install .*\n.*{self.target.name} cannot be used: .*CRC"):
            self.find()


class UnwritableTest(FindCase):
    def test_a_warning_says_that_the_conversion_is_not_saved(self):
        self.install()
        (self.folder / "file").write_text("no folder")
        message = "file/cache cannot be written .*: .* converted anew each time. Set XDG"
        for _ in range(2):
            with self.assertWarnsRegex(UserWarning, message):
                self.check(self.find(folder=self.folder / "file" / "cache"))

    def test_a_conversion_is_read_from_a_read_only_cache(self):
        self.install()
        self.find()
        self.cache.chmod(0o500)
        self.addCleanup(self.cache.chmod, 0o700)
        with warnings.catch_warnings(action="error"):
            self.check(self.find())


class ProcessTest(FindCase):
    def test_the_second_of_two_processes_waits(self):
        self.install()
        record = self.find().record
        self.target.unlink()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(shared.ROOT), str(self.folder / "site")))}
        ready, start = self.folder / "ready", self.folder / "start"
        command = [sys.executable, "-c", OTHER_PROCESS, str(self.cache), str(ready), str(start)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            self.addCleanup(process.kill)
            while not ready.exists() and process.poll() is None:
                time.sleep(0.01)
            # This process has the lock first and saves other weights, which the second process must return.
            with files.lock(self.target.with_name(f"{self.target.name}.lock"), "target", RuntimeError):
                start.touch()
                time.sleep(1.0)
                self.assertFalse(self.target.exists())
                networks.save_params(NETWORK.initialize(1), self.target, record)
                inode = self.target.stat().st_ino
            out, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0)
        kernel = np.asarray(NETWORK.initialize(1)["conv1_1"]["kernel"]).tobytes()
        self.assertEqual(out, f"{inode} {hashlib.sha256(kernel).hexdigest()}\n")

    def test_threads(self):
        self.install()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for weights in pool.map(lambda _: self.find(), range(4)):
                self.check(weights)
        self.check_target()


if __name__ == "__main__":
    absltest.main()
