import json
import pathlib

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError
from tests.weights.formats import writers
from tests.weights.formats.mutations import mutations, survive


def _file(header, body=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def _entry(start, end, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def _state():
    generator = np.random.default_rng(0)
    dtypes = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ml_dtypes.bfloat16)
    state = {f"layer.{i}": (5 * generator.normal(size=(3, i + 1))).astype(dtype) for i, dtype in enumerate(dtypes)}
    return state | {"scalar": np.asarray(2, np.float32), "empty": np.zeros((0, 3), np.float32)}


class SafetensorsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path) / "net.safetensors"

    def test_round_trip(self):
        writers.write_safetensors(self.file, _state(), {"format": "pt"})
        source = formats.read(self.file)
        self.assertEqual((source.format, source.notes), ("safetensors", {"format": "pt"}))
        self.assertEqual(source.arrays.keys(), _state().keys())
        for key, array in _state().items():
            np.testing.assert_array_equal(source.arrays[key], array, strict=True)
            self.assertFalse(source.arrays[key].flags.writeable)

    @parameterized.named_parameters(
        ("twice", _file(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":1}')),
        ("overlap", _file({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12))),
        ("hole", _file({"a": _entry(0, 4), "b": _entry(8, 12)}, bytes(12))),
        ("tail", _file({"a": _entry(0, 4)}, bytes(12))),
        ("beyond", _file({"a": _entry(0, 16)}, bytes(12))),
        ("size", _file({"a": _entry(0, 12, [4])}, bytes(12))),
        ("backwards", _file({"a": _entry(12, 0, [3])}, bytes(12))),
        ("negative", _file({"a": _entry(0, 12, [-3])}, bytes(12))),
        ("huge", _file({"a": _entry(0, 12, [2**62, 2**62])}, bytes(12))),
        ("fraction", _file({"a": _entry(0, 12, [3.0])}, bytes(12))),
        ("true", _file({"a": _entry(0, 4, [True])}, bytes(4))),
        ("type", _file({"a": _entry(0, 12, [24], "F4")}, bytes(12))),
        ("entry", _file({"a": [1]})),
        ("metadata", _file({"__metadata__": {"a": 1}})),
        ("empty", _file({}), "holds no weights"),
        ("json", _file(b"{'a': 1}")),
        ("nan", _file(b'{"a": NaN}')),
        ("digits", _file(b'{"a":' + b"1" * 10000 + b"}")),
        ("deep", _file(b'{"a":' + b"[" * 500_000)),
        ("not utf-8", _file(b'{"\xff":1}')),
        ("long header", _file(b'{"a":1}' + b" " * 2_000_000)),
        ("endless header", (2**63).to_bytes(8, "little") + b"{}"),
        ("name", _file({"a\n": _entry(0, 4)}, bytes(4)), "not printable"),
    )
    def test_broken_files(self, content, message="not a safetensors file, or damaged"):
        self.file.write_bytes(content)
        with self.assertRaisesRegex(FormatError, f"net.safetensors: .*{message}"):
            formats.read(self.file)

    def test_damaged_files(self):
        writers.write_safetensors(self.file, _state(), {"format": "pt"})
        content = self.file.read_bytes()
        copies = mutations(content, 600, seed=0)
        survey = survive(lambda path: formats.read(path).arrays, self.file, copies, FormatError)
        self.assertGreater(survey.refused, 300)
        self.assertLess(survey.seconds, 2)
        self.assertLess(survey.peak, 2 * len(content) + 1_000_000)


if __name__ == "__main__":
    absltest.main()
