import io
import os
import pathlib
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.weights import formats
from cwcf_jax.weights.formats import FormatError
from tests.support.packages import package
from tests.support.slow import cases
from tests.weights.formats import torch_files, writers
from tests.weights.formats.mutations import mutations, survive

LEGACY = (False, True)
DAMAGED_COPIES = cases(60, 400)
"""The number of damaged copies of a file."""
HOSTILE = ("posix.system", "builtins.eval", "importlib.import_module")


def _arrays(seed=0):
    draw = np.random.default_rng(seed).normal
    return {
        "features.0.weight": draw(size=(6, 4, 3, 5)).astype(np.float32),
        "features.0.bias": draw(size=6).astype(np.float32),
        "classifier.weight": draw(size=(3, 6)).astype(np.float64),
        "half": draw(size=7).astype(np.float16),
        "count": np.asarray(12, np.int64),
        "mask": np.array([True, False, True]),
        "bytes": np.arange(5, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


class PytorchTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path) / "net.pth"

    def _read(self, content=None):
        if content is not None:
            self.file.write_bytes(content)
        return formats.read(self.file)

    def _assert_refused(self, content, message):
        with self.assertRaisesRegex(FormatError, f"^{self.file}: .*{message}"):
            self._read(content)

    def _check(self, arrays, expected):
        self.assertEqual(list(arrays), list(expected))
        for key, array in expected.items():
            np.testing.assert_array_equal(arrays[key], array, strict=True)
            self.assertFalse(arrays[key].flags.writeable)

    @parameterized.parameters(*LEGACY)
    def test_round_trip(self, legacy):
        writers.write_pth(self.file, _arrays(), legacy)
        source = self._read()
        self._check(source.arrays, _arrays())
        self.assertEqual((source.format, source.notes), ("torch", {"layout": "legacy" if legacy else "zip"}))

    @parameterized.parameters(*LEGACY)
    def test_views_of_storages(self, legacy):
        torch = package("torch")
        base = torch.arange(60, dtype=torch.float32)
        kernel = torch.randn(5, 7, 3, 2)
        state = {
            "offset": base[7:19],
            "steps": base[3:50:4],
            "transposed": base.reshape(6, 10).T,
            "last": kernel.to(memory_format=torch.channels_last),
            "parameter": torch.nn.Parameter(kernel[1:3, ::2]),
            "bfloat": kernel.to(torch.bfloat16),
        }
        writers.write_pth(self.file, state, legacy)
        arrays = self._read().arrays
        for key, tensor in state.items():
            np.testing.assert_array_equal(arrays[key].astype(np.float32), tensor.detach().float().numpy())
        self.assertEqual(str(arrays["bfloat"].dtype), "bfloat16")

    @parameterized.product(legacy=LEGACY, wrapped=("state_dict", "model"))
    def test_checkpoints(self, legacy, wrapped):
        torch = package("torch")
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, (3, 5)), torch.nn.BatchNorm2d(4))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        model(torch.randn(1, 3, 8, 8)).sum().backward()
        optimizer.step()
        state = model.state_dict()
        parallel = OrderedDict((f"module.{key}", value) for key, value in state.items())
        checkpoint = {"epoch": 3, "arch": "net", "best": 0.5, wrapped: parallel, "optimizer": optimizer.state_dict()}
        writers.write_pth(self.file, checkpoint, legacy)
        source = self._read()
        self._check(source.arrays, {key: value.numpy() for key, value in state.items()})
        self.assertEqual(source.notes["unwrapped"], wrapped)
        self.assertEqual(source.notes["stripped"], "module.")
        writers.write_pth(self.file, state, legacy)  # an OrderedDict with _metadata
        self._check(self._read().arrays, {key: value.numpy() for key, value in state.items()})

    @parameterized.parameters(*LEGACY)
    def test_whole_models_and_other_objects(self, legacy):
        torch = package("torch")
        torch.save(torch.nn.Linear(2, 3), self.file, _use_new_zipfile_serialization=not legacy)
        self._assert_refused(None, r"would run torch.nn.modules.linear.Linear.*save model.state_dict\(\) alone")
        writers.write_pth(self.file, {"first": {"a": np.zeros(3)}, "second": {}}, legacy)
        self._assert_refused(None, r"a table of \['first', 'second'\], and not the tensors of one network")
        writers.write_pth(self.file, {"a": np.zeros(2), "epoch": 3}, legacy)
        self.assertEqual(self._read().notes["ignored"], "epoch")
        writers.write_pth(self.file, torch.zeros(3).expand(4, 3) if legacy else [1], legacy)
        self._assert_refused(None, "repeats its values|it holds no table")

    def test_invalid_containers(self):
        torch = package("torch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns about TorchScript
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), self.file)
        self._assert_refused(None, "TorchScript program")
        pickled = torch_files.pickled({"a": torch_files.tensor(0, (3, 4), (4, 1))})
        np.testing.assert_array_equal(self._read(torch_files.zipped(pickled)).arrays["a"], np.arange(12).reshape(3, 4))
        self._assert_refused(torch_files.zipped(pickled, byteorder="big"), "big-endian machine")
        self._assert_refused(torch_files.zipped(pickled, {"1": b"x"}), "a storage is missing")
        self._assert_refused(torch_files.zipped(pickled, {"0": bytes(44)}), "not as long as its tensors say")
        self._assert_refused(torch_files.zipped(pickled + b"x"), "there is data after its pickle")
        system = pickle.dumps({"protocol_version": 1001, "little_endian": False}, 2)
        self._assert_refused(torch_files.legacy_file(changed={2: system}), "big-endian machine")
        self._assert_refused(torch_files.legacy_file(changed={0: pickle.dumps(1, 2)}), "not one of torch.save")
        self._assert_refused(torch_files.legacy_file(changed={4: pickle.dumps(["0", "0"], 2)}), "list of storages")
        self._assert_refused(
            torch_files.legacy_file(tail=struct.pack("<q", 13) + bytes(52)), "not as long as its tensors say"
        )
        self._assert_refused(torch_files.legacy_file() + b"x", "there is data after its storages")
        np.testing.assert_array_equal(self._read(torch_files.legacy_file()).arrays["a"], np.arange(12).reshape(3, 4))

    def test_strings_of_python_2(self):
        content = torch_files.legacy_file()
        self.assertIn(b"X\x01\x00\x00\x00a", content)
        arrays = self._read(content.replace(b"X\x01\x00\x00\x00a", b"U\x01a")).arrays
        self._check(arrays, {"a": np.arange(12, dtype=np.float32).reshape(3, 4)})

    @parameterized.named_parameters(
        ("offset", 1, (3, 4), (4, 1), "beyond its storage"),
        ("stride", 0, (3, 4), (5, 1), "beyond its storage"),
        ("size", 0, (4, 4), (4, 1), "beyond its storage"),
        ("negative stride", 11, (3, 4), (-4, -1), "not described as torch.save does"),
        ("negative offset", -1, (3,), (1,), "not described as torch.save does"),
        ("negative size", 0, (-3,), (1,), "not described as torch.save does"),
        ("huge", 0, (2**40, 2**40), (2**40, 1), "beyond its storage"),
        ("repeated", 0, (2**30, 12), (0, 1), "repeats its values"),
        ("ranks", 0, (3, 4), (4,), "beyond its storage"),
        ("dimensions", 0, (1,) * 40, (1,) * 40, "not described as torch.save does"),
        ("fraction", 0, (3.0,), (1,), "not described as torch.save does"),
        ("empty beyond", 13, (0,), (1,), "beyond its storage"),
    )
    def test_tensors_stay_within_their_storage(self, offset, shape, strides, message):
        self._assert_refused(
            torch_files.zipped(torch_files.pickled({"a": torch_files.tensor(offset, shape, strides)})), message
        )

    def test_storages_are_described_once(self):
        first, second = (
            torch_files.tensor(0, (12,), (1,)),
            torch_files.tensor(0, (6,), (1,), count=6, storage_type="DoubleStorage"),
        )
        self._assert_refused(
            torch_files.zipped(torch_files.pickled({"a": first, "b": second})), "described in two ways"
        )
        self._assert_refused(
            torch_files.zipped(
                torch_files.pickled({"a": torch_files.tensor(0, (1,), (1,), storage_type="QInt8Storage")})
            ),
            "run torch.QInt8Storage",
        )
        self._assert_refused(
            torch_files.zipped(torch_files.pickled({"a": torch_files.tensor(0, (1,), (1,), name="module")})),
            "refers to something",
        )
        self._assert_refused(
            torch_files.zipped(torch_files.pickled({"a": torch_files.tensor(0, (1,), (1,), tail=(("0", 0, 1),))})),
            "views of each other",
        )
        many = {f"{index}": torch_files.tensor(0, (5000,), (1,), count=5000) for index in range(100)}
        self._assert_refused(torch_files.zipped(torch_files.pickled(many), {"0": bytes(20000)}), "repeat each other")

    @parameterized.product(name=HOSTILE, position=("zip", 0, 1, 2, 3, 4), protocol=(2, 4))
    def test_nothing_is_run(self, name, position, protocol):
        sentinel = self.file.with_name("sentinel")
        module, _, function = name.rpartition(".")
        argument = {"system": f"touch {sentinel}", "eval": f"open({str(sentinel)!r}, 'w').close()"}.get(
            function, "this"
        )
        call = getattr(__import__(module, fromlist=[function]), function)
        hostile = pickle.dumps({"state_dict": torch_files.Reduced(call, argument)}, protocol)
        if function != "import_module":  # the pickle runs under Python's own loader
            pickle.loads(hostile)  # noqa: S301
            self.assertTrue(sentinel.exists())
            sentinel.unlink()
        content = (
            torch_files.zipped(hostile) if position == "zip" else torch_files.legacy_file(changed={position: hostile})
        )
        self._assert_refused(content, f"loading it would run {name.replace('builtins', '(__builtin__|builtins)')}")
        self.assertFalse(sentinel.exists())

    @parameterized.named_parameters(
        ("memo", b"\x80\x02}r\xff\xff\xff\x7f.", "holds a table of"),
        ("text", b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged or was cut off"),
        ("lists", b"\x80\x02" + b"]" * 20_000 + b".", "holds no table"),
        ("nested tuples", b"\x80\x02)" + b"\x85" * 20_000 + b".", "holds no table"),
        ("doubled tuples", b"\x80\x02)" + b"q\0h\0\x86" * 10_000 + b".", "holds no table"),
        ("tuple as key", b"\x80\x02})" + b"q\0h\0\x86" * 100 + b"Ns.", "key twice or of a strange type"),
        ("recursion", b"\x80\x02}q\0X\5\0\0\0modelh\0s.", "holds a table of"),
        ("a storage called", b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a type of storage"),
        ("instance", b"\x80\x02(ios\nsystem\n.", "uses INST.*save model.state_dict"),
        ("newobj", b"\x80\x02cbuiltins\nint\n)\x81.", "run builtins.int"),
        ("call", b"\x80\x02ctorch\nSize\n)R.", "damaged or was cut off"),
        ("ordered", b"\x80\x02ccollections\nOrderedDict\n]Na\x85R.", "damaged or was cut off"),
        (
            "ordered tuple",
            b"\x80\x02ccollections\nOrderedDict\n])NK\1\x86a\x85R.",
            "damaged or was cut off|strange type",
        ),
        ("not ascii", b"\x80\x02c\xff\\q\n\xff\n.", "would run|damaged"),
        ("surrogate", b"\x80\x02}X\3\0\0\0\xed\xa0\x80Ns.", "holds a table of|not printable"),
    )
    def test_hostile_pickles(self, pickled, message):
        """Tests hostile pickles of PyTorch; `tests.safe_pickle_test` tests those that do not depend on PyTorch."""
        tracemalloc.start()
        started = sum(os.times()[:4])
        self._assert_refused(content := torch_files.zipped(pickled), message)
        if len(pickled) < 1000:
            self._assert_refused(torch_files.legacy_file(changed={3: pickled}), message)
        seconds = sum(os.times()[:4]) - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(seconds, 15)
        self.assertLess(peak, 2 * len(content) + 64_000_000)

    def test_text_opcodes_never_warn(self):
        for code in (b"V\\u12\n.", b"S'\\q'\n.", b"Pabc\n.", b"F1e999\n.", b"L5L\n."):
            self._assert_refused(torch_files.zipped(code), "damaged|uses|holds no table")

    def test_compressed_archives(self):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("net/data.pkl", bytes(1 << 20))
        self._assert_refused(buffer.getvalue(), "members are compressed")

    @parameterized.parameters(*LEGACY)
    def test_memory(self, legacy):
        arrays = {str(i): np.random.default_rng(i).normal(size=(100, 100, 10, 10)).astype(np.float32) for i in range(2)}
        writers.write_pth(self.file, arrays, legacy)
        tracemalloc.start()
        arrays_read = self._read().arrays
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self._check(arrays_read, arrays)
        self.assertLess(peak, (0.1 if legacy else 2.1) * self.file.stat().st_size)

    @parameterized.parameters(*LEGACY)
    def test_damaged_files(self, legacy):
        writers.write_pth(self.file, _arrays(), legacy)
        content = self.file.read_bytes()
        files = set(self.file.parent.iterdir())
        survey = survive(
            lambda path: formats.read(path).arrays, self.file, mutations(content, DAMAGED_COPIES, seed=1), FormatError
        )
        self.assertEqual(set(self.file.parent.iterdir()), files)
        self.assertGreater(survey.refused, DAMAGED_COPIES // 2)
        self.assertLess(survey.seconds, 5)
        self.assertLess(survey.peak, 2 * len(content) + 4_000_000)

    def test_damaged_pickles_in_sound_archives(self):
        writers.write_pth(self.file, _arrays())
        with zipfile.ZipFile(self.file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        (name,) = [name for name in members if name.endswith("data.pkl")]

        def copies():
            for pickled in mutations(members[name], DAMAGED_COPIES, seed=2):
                buffer = io.BytesIO()
                with zipfile.ZipFile(buffer, "w") as archive:
                    for key, content in {**members, name: pickled}.items():
                        archive.writestr(key, content)
                yield buffer.getvalue()

        survey = survive(lambda path: formats.read(path).arrays, self.file, copies(), FormatError)
        self.assertGreater(survey.refused, DAMAGED_COPIES // 2)
        self.assertLess(survey.seconds, 5)


if __name__ == "__main__":
    absltest.main()
