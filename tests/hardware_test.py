import pathlib
import platform
from unittest import mock

from absl.testing import absltest

from cwcf_jax import hardware

CPUINFO = """processor\t: 0
model name\t: Fast: 3 GHz
flags\t\t: fpu avx512_bf16

processor\t: 1
model name\t: Slow
flags\t\t: fpu
"""


class ProcessorTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        for function in (hardware.processor, hardware.processor_flags):
            function.cache_clear()
            self.addCleanup(function.cache_clear)

    def test_reads_the_first_processor(self):
        with mock.patch.object(pathlib.Path, "read_text", return_value=CPUINFO):
            self.assertEqual(hardware.processor(), "Fast: 3 GHz")
            self.assertEqual(hardware.processor_flags(), {"fpu", "avx512_bf16"})

    def test_without_cpuinfo(self):
        with mock.patch.object(pathlib.Path, "read_text", side_effect=FileNotFoundError):
            self.assertIn(hardware.processor(), (platform.processor(), platform.machine()))
            self.assertEqual(hardware.processor_flags(), frozenset())


if __name__ == "__main__":
    absltest.main()
