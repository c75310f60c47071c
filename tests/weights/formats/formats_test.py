import io
import pathlib
import tarfile

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError

SUFFIXES = (".caffemodel", ".h5", ".hdf5", ".npz", ".pt", ".pth", ".safetensors")


def _zip():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


CONTENTS = {
    "page": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", r"a web page \(HTML\): the download failed", ()),
    "page2": (b"<HTML><head>", r"a web page \(HTML\): the download failed", ()),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull", ()),
    "zip": (_zip(), "zip archive", (".npz",)),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file", (".h5", ".hdf5")),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip-compressed data: unpack it first", ()),
    "pickle": (b"\x80\x02}q\x00.", "a Python pickle|a pickle, but not one of torch.save", ()),
    "tar": (_tar(), "a tar archive", ()),
    "zeros": (bytes(1000), "zeros: the download or the copy was cut off", ()),
    "npy": (b"\x93NUMPY\1\0" + bytes(100), r"a single NumPy array \(.npy\)", ()),
    "text": (b"hello, world, how are you", "a text file", ()),
    "empty": (b"", "the file is empty", ()),
}


class FormatsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    @parameterized.product(kind=tuple(CONTENTS), suffix=SUFFIXES)
    def test_content_that_does_not_match_the_suffix(self, kind, suffix):
        content, message, valid_suffixes = CONTENTS[kind]
        if suffix in valid_suffixes:
            return
        file = self.folder / f"net{suffix}"
        file.write_bytes(content)
        with self.assertRaisesRegex(FormatError, message) as context:
            formats.read(file)
        self.assertStartsWith(str(context.exception), f"{file}: ")

    def test_suffixes(self):
        file = self.folder / "net.bin"
        file.write_bytes(b"x")
        suffixes = ", ".join(SUFFIXES)
        with self.assertRaisesRegex(FormatError, f"the suffix '.bin' is not known; known are {suffixes}"):
            formats.read(file)
        with self.assertRaisesRegex(FormatError, f"this is a directory; a file is needed, one of {suffixes}"):
            formats.read(self.folder)
        with self.assertRaisesRegex(FileNotFoundError, "no weights at .*nowhere.npz"):
            formats.read(self.folder / "nowhere.npz")
        keras = self.folder / "net.keras"
        keras.write_bytes(b"PK")
        with self.assertRaisesRegex(FormatError, "unzip it and read the model.weights.h5"):
            formats.read(keras)

    def test_upper_case_suffixes_and_string_paths(self):
        np.savez(self.folder / "net.npz", a=np.zeros(3))
        path = (self.folder / "net.npz").rename(self.folder / "NET.NPZ")
        self.assertEqual(list(formats.read(str(path)).arrays), ["a"])

    def test_kernel_order_is_only_for_keras(self):
        np.savez(self.folder / "net.npz", a=np.zeros(3))
        with self.assertRaisesRegex(FormatError, "--kernel_order is for Keras files"):
            formats.read(self.folder / "net.npz", kernel_order="theano")


if __name__ == "__main__":
    absltest.main()
