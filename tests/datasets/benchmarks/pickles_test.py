import io
import os
import pathlib
import pickle
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.datasets.benchmarks import pickles
from cwcf_jax.datasets.benchmarks.pickles import read_pickle
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts


class HostileCall:
    """A `HostileCall` is pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class PickleCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = layouts.folder_of(self) / "gnd.pkl"

    def read(self, content):
        self.path.write_bytes(content)
        return read_pickle(self.path)


class ReadTest(PickleCase):
    @parameterized.product(
        protocol=(0, 1, 2, 3, 4, 5),
        dtype=("int64", ">i4", "uint8", "float64", "float32", "bool", "<U9", "S5"),
        shape=((0,), (3,), (1, 4), (2, 2)),
    )
    def test_arrays(self, protocol, dtype, shape):
        array = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
        actual = self.read(pickle.dumps({"a": array, "b": [array]}, protocol))
        self.assertEqual(actual, {"a": array.ravel().tolist(), "b": [array.ravel().tolist()]})

    @parameterized.parameters(*range(6))
    def test_scalars_objects_and_builtins(self, protocol):
        objects = np.empty(3, object)
        objects[:] = ["a", None, 2]
        content = {"n": np.int32(-7), "f": np.float64(0.5), "o": objects, "t": ("ä", b"\x80", True, 2**70, [1.5])}
        expected = {"n": -7, "f": 0.5, "o": ["a", None, 2], "t": ["ä", b"\x80", True, 2**70, [1.5]]}
        self.assertEqual(self.read(pickle.dumps(content, protocol)), expected)

    def test_pickle_of_python_2(self):
        # Python 2 writes byte strings for texts and for the content of an array.
        content = (
            b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            b"\x89U\x08\x05\x00\x00\x00\xff\x00\x00\x00tbs."
        )
        self.assertEqual(self.read(content), {"a": [5, 255]})
        np.testing.assert_array_equal(pickle.loads(content, encoding="latin-1")["a"], [5, 255])  # noqa: S301

    @settings(deadline=None, max_examples=50)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
            lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text(), item, max_size=3),
            max_leaves=8,
        ),
        st.integers(0, 5),
    )
    def test_plain_values(self, value, protocol):
        path = pathlib.Path(self.path.parent) / "plain.pkl"
        path.write_bytes(pickle.dumps([value], protocol))
        depth = 0
        while isinstance(value, list | dict) and value:
            value, depth = next(iter(value.values() if isinstance(value, dict) else value)), depth + 1
        if depth < 6:
            self.assertEqual(read_pickle(path), pickle.loads(path.read_bytes()))  # noqa: S301


class HostileTest(PickleCase):
    @parameterized.parameters(
        (os.system, "posix.system"),
        (eval, "builtin(s|__).eval"),
        (np.load, "numpy.load"),
        (np.frombuffer, "numpy"),
        (pickle.loads, "pickle.loads"),
        (io.open, "io.open|_io.open"),
        (pathlib.Path, "pathlib"),
    )
    def test_nothing_is_run(self, function, name):
        flag = self.path.with_name("flag")
        for protocol in range(6):
            content = pickle.dumps({"imlist": HostileCall(function, str(flag))}, protocol)
            with self.assertRaisesRegex(DatasetError, f"gnd.pkl: refused, because loading it would run .*({name})"):
                self.read(content)
        self.assertFalse(flag.exists())

    def test_pickle_itself_runs_the_call(self):
        # Python's own pickle does run the call that the test above refuses.
        flag = self.path.with_name("flag")
        pickle.loads(pickle.dumps(HostileCall(os.mkdir, str(flag))))  # noqa: S301
        self.assertTrue(flag.exists())

    @parameterized.parameters(
        b"\x80\x02cnumpy\nndarray\n}U\x0a__setstate__Nsb.",  # BUILD sets a dict on a stand-in
        b"\x80\x02cnumpy.core.multiarray\nscalar\nN}U\x09_functionNs\x86b.",  # BUILD sets a slot of a stand-in
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x02c_codecs\nencode\nU\x01aU\x04zlib\x86R.",
        b"\x80\x02cnumpy\ndtype\nU\x07V1000,aK\x00K\x01\x87R.",
        b"\x80\x02U\x01aQ.",  # a persistent id
        b"\x80\x02]q\x00h\x00a.",  # a list that contains itself
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 8 EB of bytes
        b"",
        b"<html>",
    )
    def test_malformed(self, content):
        namespaces = dict(vars(pickles)), dict(vars(pickles._Dtype))
        with self.assertRaisesRegex(DatasetError, f"{self.path}: "):
            self.read(content)
        self.assertEqual((dict(vars(pickles)), dict(vars(pickles._Dtype))), namespaces)

    def test_content_that_does_not_fit_its_shape(self):
        content = pickle.dumps(np.zeros(4, np.int32), 2).replace(b"K\x04\x85", b"K\x05\x85")
        with self.assertRaisesRegex(DatasetError, "an array has content that does not fit its shape"):
            self.read(content)

    def test_shared_values_stay_shared(self):
        value = [0]
        for _ in range(7):
            value = [value] * 1000
        actual = self.read(pickle.dumps(value, 2))
        self.assertIs(actual[0][0], actual[1][999])

    def test_too_large_file(self):
        with (
            mock.patch.object(pickles, "MAX_BYTES", 9),
            self.assertRaisesRegex(DatasetError, "^\\S*gnd.pkl: has 25 bytes, more than the 9 that"),
        ):
            self.read(pickle.dumps("0123456789"))

    def test_no_such_file(self):
        with self.assertRaisesRegex(DatasetError, "gnd.pkl: cannot be read as a pickle"):
            read_pickle(self.path)


if __name__ == "__main__":
    absltest.main()
