"""What the tests of finding weights share: an empty cache, a package and downloads of a tiny network."""

import hashlib
import pathlib
import sys

import jax
import numpy as np
from absl.testing import parameterized

from cwcf_jax.weights import finding
from cwcf_jax.weights.catalogue import CatalogueEntry, CataloguePreprocessing, Hash
from tests.training import tiny
from tests.weights import packaged

NETWORK = tiny.network()


DATA = packaged.content()


OTHERS = packaged.content(1)


def entry(data=DATA, name="tiny_there", **fields):
    known = dict(network="tiny_cam", layout="torchvision", file=f"{name}_file.npz", url=f"https://example.org/{name}")
    known |= dict(hash=Hash("sha1", hashlib.sha1(data).hexdigest()), size=len(data), licence="BSD")  # noqa: S324
    known |= dict(preprocessing=CataloguePreprocessing("RGB", (0.0,) * 3, (1.0,) * 3), paper="Somebody", note="")
    return CatalogueEntry(name, **known | fields)


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
