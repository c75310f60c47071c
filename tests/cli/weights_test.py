import contextlib
import io
import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.cli import entry, parser
from cwcf_jax.weights import catalogue


class WeightsTest(parameterized.TestCase):
    def call(self, *arguments):
        """Exit code, stdout and stderr of ``cwcf weights``."""
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = entry.call(parser.build().parse_args(["weights", *arguments]))
        return code, out.getvalue(), error.getvalue()

    def test_list(self):
        code, out, _ = self.call("list")
        self.assertEqual(code, 0)
        self.assertEqual([line.split()[0] for line in out.splitlines()], ["name", *catalogue.read()])

    def test_what_cannot_be_done_is_one_line(self):
        for arguments, message in (
            (("fetch", "nothing"), "nothing is not one of these: googlenet_bvlc, "),
            (("convert", "/nowhere.pth", "--network=vgg16", "--output=/nowhere"), "no weights at /nowhere.pth; `cwcf "),
            (("convert", "/nowhere.pth", "--network=none", "--output=/nowhere"), "unknown network 'none'"),
        ):
            code, out, error = self.call(*arguments)
            self.assertEqual((code, out, error.count("\n")), (1, "", 1))
            self.assertStartsWith(error, f"cwcf: {message}")

    def test_a_package_that_is_missing(self):
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
