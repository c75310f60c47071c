import io
import pathlib
import tracemalloc
import zipfile

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError
from tests.support import shared
from tests.weights.formats.mutations import mutations, survive


def _state():
    generator = np.random.default_rng(0)
    dtypes = ("<f8", "<f4", "<f2", ">f4", "i8", "u1", "?")
    state = {
        f"block/{i}/kernel": (5 * generator.normal(size=(3, i + 1))).astype(dtype) for i, dtype in enumerate(dtypes)
    }
    state["fortran"] = np.asfortranarray(generator.normal(size=(3, 4, 5)))
    return state | {"scalar": np.asarray(2.0), "empty": np.zeros((0, 3)), "vector": np.arange(5)}


def _npy(header, values=b"", version=1):
    raw = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(raw).to_bytes(2 if version == 1 else 4, "little") + raw + values


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"


class NpzTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path) / "net.npz"

    def _zip(self, *members, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(self.file, "w", method) as archive:
            for name, content in members:
                archive.writestr(name, content)

    def _assert_refused(self, message):
        with self.assertRaisesRegex(FormatError, f"^{self.file}: .*{message}"):
            formats.read(self.file)

    @parameterized.parameters(np.savez, np.savez_compressed)
    def test_round_trip(self, save):
        save(self.file, **_state())
        source = formats.read(self.file)
        self.assertEqual((source.format, source.notes), ("npz", {}))
        self.assertEqual(source.arrays.keys(), _state().keys())
        for key, array in _state().items():
            np.testing.assert_array_equal(source.arrays[key], array, strict=True)
            self.assertFalse(source.arrays[key].flags.writeable)

    def test_a_released_network(self):
        path = shared.require("weights/googlenet_bvlc.npz")
        tracemalloc.start()
        arrays = formats.read(path).arrays
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with np.load(path) as archive:
            self.assertEqual(set(archive.files), arrays.keys())
            for key in archive.files:
                np.testing.assert_array_equal(arrays[key], archive[key], strict=True)
        self.assertLess(peak, 1.5 * sum(array.nbytes for array in arrays.values()))

    def test_archive_written_to_a_pipe(self):
        class Pipe(io.BytesIO):
            def seekable(self):
                return False

            def seek(self, *_):
                raise io.UnsupportedOperation

            tell = seek

        pipe = Pipe()
        np.savez_compressed(pipe, **_state())
        self.file.write_bytes(pipe.getvalue())
        self.assertEqual(formats.read(self.file).arrays.keys(), _state().keys())

    def test_headers_of_other_writers(self):
        values = np.arange(3, dtype="<f4")
        for name, header, version in (("1", HEADER, 1), ("2", HEADER, 2)):
            self._zip((f"{name}.npy", _npy(header, values.tobytes(), version)))
            np.testing.assert_array_equal(formats.read(self.file).arrays[name], values)

    def test_pickles_are_not_run(self):
        np.savez(self.file, conv=np.array([print], dtype=object))
        self._assert_refused("conv holds pickled Python objects, which are never loaded")

    @parameterized.named_parameters(
        ("longer", HEADER, bytes(16), "not as long as its header says"),
        ("shorter", HEADER, bytes(8), "not as long as its header says"),
        ("huge", HEADER.replace("3", "9" * 19 + "," + "9" * 19), bytes(12), "not as long as its header says"),
        ("negative", HEADER.replace("3", "-3"), bytes(12), "an impossible shape"),
        ("two negatives", HEADER.replace("(3,)", "(-3,-1)"), bytes(12), "an impossible shape"),
        ("code", HEADER.replace("(3,)", "print(1)"), bytes(12), "malformed node|Cannot parse header"),
        ("nested", "{'descr': " + "[" * 5000, bytes(12), "EOF in multi-line|Cannot parse header"),
        ("minus", "{'descr': " + "-" * 9000, bytes(12), "Cannot parse header|Recursion|Memory"),
        ("record", HEADER.replace("'<f4'", "[('a', '<f4')]"), bytes(12), "type '.V4'"),
        ("string", HEADER.replace("<f4", "<U1"), bytes(12), "type '<U1'"),
        ("complex", HEADER.replace("<f4", "<c8"), bytes(24), "type '<c8'"),
    )
    def test_broken_members(self, header, values, message):
        self._zip(("conv.npy", _npy(header, values)))
        self._assert_refused(message)

    def test_other_archives(self):
        self._zip(("word/document.xml", b"<xml/>"))
        self._assert_refused("'word/document.xml', which is no array of numpy.savez")
        self._zip(("conv.npy", b"PK"))
        self._assert_refused("magic string is not correct|reading magic string")
        self._zip(("conv.npy", b""), method=zipfile.ZIP_LZMA)
        self._assert_refused("compressed in a way that is not read here")

    def test_archives_that_expand(self):
        for size, message in ((1 << 20, "magic string is not correct"), (100 << 20, "would fill 104857600 bytes")):
            self._zip(("conv.npy", bytes(size)), method=zipfile.ZIP_DEFLATED)
            self._assert_refused(message)
        self._zip(("conv.npy", bytes(10 << 20)), method=zipfile.ZIP_DEFLATED)
        content = self.file.read_bytes()
        self.file.write_bytes(content.replace((10 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
        tracemalloc.start()
        self._assert_refused("CRC|magic string is not correct")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(peak, 1_000_000)

    def test_declared_sizes_are_not_allocated(self):
        np.savez_compressed(self.file, a=np.zeros(3))
        content = bytearray(self.file.read_bytes())
        entry = content.rfind(b"PK\x01\x02")
        # The compressed size is changed, the expanded size is not.
        content[entry + 20 : entry + 24] = (1 << 31).to_bytes(4, "little")
        self.file.write_bytes(content)
        tracemalloc.start()
        self._assert_refused("a.npy does not lie within the file")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(peak, 1_000_000)

    def test_encrypted_archive(self):
        np.savez(self.file, a=np.zeros(3))
        content = bytearray(self.file.read_bytes())
        content[content.rfind(b"PK\x01\x02") + 8] |= 1
        self.file.write_bytes(content)
        self._assert_refused("encrypted")

    def test_overlapping_and_repeated_members(self):
        with self.assertWarns(UserWarning):
            self._zip(("a.npy", _npy(HEADER, bytes(12))), ("a.npy", _npy(HEADER, bytes(12))))
        self._assert_refused("holds a member twice")
        self._zip(("a.npy", _npy(HEADER, bytes(12))), ("b.npy", _npy(HEADER, bytes(12))))
        content = self.file.read_bytes()
        second = content.rfind(b"PK\x01\x02")
        offset = content.rfind(b"PK\x03\x04").to_bytes(4, "little")
        self.assertEqual(content[second + 42 : second + 46], offset)
        forged = content[: second + 42] + bytes(4) + content[second + 46 :]
        self.file.write_bytes(forged)
        self._assert_refused("differ|Overlapped")

    @parameterized.parameters(np.savez, np.savez_compressed)
    def test_damaged_files(self, save):
        save(self.file, **_state())
        content = self.file.read_bytes()
        survey = survive(
            lambda path: formats.read(path).arrays, self.file, mutations(content, 400, seed=0), FormatError
        )
        self.assertGreater(survey.refused, 200)
        self.assertLess(survey.seconds, 2)
        # numpy parses a header of up to 10,000 characters as Python.
        self.assertLess(survey.peak, 2 * len(content) + 32_000_000)


if __name__ == "__main__":
    absltest.main()
