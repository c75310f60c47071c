"""This module has the base of the tests that find weights: an empty cache, a package and downloads."""

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
OTHER_DATA = packaged.content(1)


def entry(data=DATA, name="tiny_download", **fields):
    defaults = dict(
        network="tiny_cam", layout="torchvision", file=f"{name}_file.npz", url=f"https://example.org/{name}"
    )
    defaults |= dict(hash=Hash("sha1", hashlib.sha1(data).hexdigest()), size=len(data), licence="BSD")  # noqa: S324
    defaults |= dict(preprocessing=CataloguePreprocessing("RGB", (0.0,) * 3, (1.0,) * 3), paper="Somebody", note="")
    return CatalogueEntry(name, **defaults | fields)


class FindCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.cache = self.folder / "cache"
        self.network = NETWORK
        self.package = packaged.package(DATA)
        self.target = finding.conversion_path("tiny_cam", self.package.sha256, self.cache)
        self.addCleanup(sys.path_importer_cache.clear)

    def install(self, data=DATA, **options):
        site = packaged.install_package(self.folder / "site", data, **options)
        if site not in sys.path:
            sys.path.insert(0, site)
            self.addCleanup(sys.path.remove, site)

    def find(self, *, packages=True, downloads=(), **options):
        options = dict(folder=self.cache) | options
        packages = {"tiny_cam": self.package} if packages else {}
        downloads = {download.name: download for download in downloads}
        return finding.find_weights(self.network, packages=packages, downloads=downloads, **options)

    def check(self, weights, seed=0):
        jax.tree.map(np.testing.assert_array_equal, weights.params, NETWORK.initialize(seed))

    def check_target(self, target=None):
        """Checks that numpy alone reads the complete conversion."""
        with np.load(target or self.target) as archive:
            kernel = archive["conv1_1/kernel"]
        np.testing.assert_array_equal(kernel, NETWORK.initialize(0)["conv1_1"]["kernel"])
