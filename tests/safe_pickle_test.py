import io
import pickle
import time
import tracemalloc
from unittest import mock

from absl.testing import absltest, parameterized

from cwcf_jax import safe_pickle
from cwcf_jax.safe_pickle import PickleError


class StandIn:
    """A stand-in that a pickle may pass a state to."""

    state = None

    def __setstate__(self, state):
        self.state = state


def _load(content, persistent=None):
    names = {"a.b": lambda *arguments: arguments, "a.build": StandIn}
    return safe_pickle.load(io.BytesIO(content), names, persistent)


class SafePickleTest(parameterized.TestCase):
    @parameterized.parameters(*range(6))
    def test_plain_data(self, protocol):
        value = {"a": [1, 2.5, (1, (2,), ()), "ü", None, True, 2**70, -3], 7: {}}
        self.assertEqual(_load(pickle.dumps(value, protocol)), value)

    def test_stand_ins_are_called_and_get_states(self):
        self.assertEqual(_load(b"\x80\x02ca\nb\nK\x01K\x02\x86R."), (1, 2))
        self.assertEqual(_load(b"\x80\x02ca\nbuild\n)R}K\x01K\x02sb.").state, {1: 2})

    def test_the_stream_is_read_up_to_the_end_of_the_pickle(self):
        stream = io.BytesIO(pickle.dumps(1, 4) + pickle.dumps([2], 2) + b"rest")
        self.assertEqual([safe_pickle.load(stream, {}) for _ in range(2)], [1, [2]])
        self.assertEqual(stream.read(), b"rest")

    def test_persistent_ids(self):
        self.assertEqual(_load(b"\x80\x02K\x05Q.", lambda identity: identity + 1), 6)
        with self.assertRaisesRegex(PickleError, "refers to something outside"):
            _load(b"\x80\x02K\x05Q.")

    @parameterized.named_parameters(
        ("cut off", pickle.dumps(["abc"], 2)[:-4], "damaged or was cut off"),
        ("empty", b"", "damaged or was cut off"),
        ("name", b"\x80\x02cposix\nsystem\n.", "would run posix.system"),
        ("dotted name", b"\x80\x04\x8c\x01a\x8c\x0bb.__class__\x93.", "would run a.b.__class__"),
        ("a state of a function", b"\x80\x02ca\nb\n}b.", "damaged"),
        ("a list as function", b"\x80\x02])R.", "calls something that is no function"),
        ("a list as arguments", b"\x80\x02ca\nb\n]R.", "calls something that is no function"),
        ("key twice", b"\x80\x02}K\x01NsK\x01Ns.", "key twice"),
        ("odd", b"\x80\x02}(K\x01NK\x02u.", "inconsistent"),
        ("bytearray", b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b".", "damaged or was cut off"),
        ("bytes", b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".", "damaged or was cut off"),
        ("text", b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged or was cut off"),
        ("negative", b"\x80\x02T\xff\xff\xff\xffabc.", "damaged or was cut off"),
        ("frame", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", "damaged or was cut off"),
        ("tuple as key", b"\x80\x02})" + b"q\0h\0\x86" * 100 + b"Ns.", "of a strange type"),
        ("long number as key", b"\x80\x02}\x8b\x10\x27\0\0" + b"\x7f" * 10_000 + b"Ns.", "of a strange type"),
        ("digits", b"I" + b"9" * 5000 + b"\n.", "damaged or was cut off"),
        ("instance", b"\x80\x02(ios\nsystem\n.", "uses INST"),
        ("object", b"\x80\x02(ca\nb\no.", "uses OBJ"),
        ("newobj", b"\x80\x02ca\nb\n)\x81.", "uses NEWOBJ"),
        ("extension", b"\x80\x02\x82\x01.", "uses EXT1"),
        ("pop", b"\x80\x02}0.", "uses POP"),
        ("dup", b"\x80\x02}2.", "uses DUP"),
        ("set", b"\x80\x04\x8f.", "uses EMPTY_SET"),
        ("buffer", b"\x80\x05\x97.", "uses NEXT_BUFFER"),
        ("unknown", b"\x80\x02\xfe.", "uses 0xfe"),
        ("version", b"\x80\x09}.", "damaged"),
        ("stop", b"\x80\x02.", "damaged"),
        ("no mark", b"\x80\x02t.", "damaged"),
        ("no memo", b"\x80\x02h\7.", "damaged"),
    )
    def test_refused(self, content, message):
        tracemalloc.start()
        start_s = time.perf_counter()
        with self.assertRaisesRegex(PickleError, message):
            _load(content)
        seconds = time.perf_counter() - start_s
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(seconds, 15)
        self.assertLess(peak, 2 * len(content) + 64_000_000)

    def test_the_number_of_opcodes_is_limited(self):
        with (
            mock.patch.object(safe_pickle, "MAX_READS", 1000),
            self.assertRaisesRegex(PickleError, "longer than the 1000"),
        ):
            _load(b"\x80\x02" + b"N" * 1000 + b".")

    def test_a_large_memo_index_needs_no_memory(self):
        tracemalloc.start()
        self.assertEqual(_load(b"\x80\x02}r\xff\xff\xff\x7f."), {})
        self.assertLess(tracemalloc.get_traced_memory()[1], 1_000_000)
        tracemalloc.stop()


if __name__ == "__main__":
    absltest.main()
