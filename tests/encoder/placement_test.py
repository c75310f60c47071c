"""A model spread over 8 devices of one process, and over 2 devices each of two processes."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import textwrap

import jax
import numpy as np
from absl.testing import absltest
from jax.sharding import Mesh

import cwcf_jax
from cwcf_jax import encoder, networks
from tests import shared

BOXES = [(10.0 * i, 0.0, 60.0 + 5 * i, 70.0) for i in range(8)]


def _images():
    return np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)


class DevicesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        network = networks.get("squeezenet1_1")
        self.model = cwcf_jax.load(network, network.initialize(0))
        self.spread = encoder.spread(self.model, Mesh(np.array(jax.devices()[:8]), ("batch",)))

    def test_the_same_descriptors_an_eighth_on_each(self):
        arguments = {"boxes": BOXES, "class_ids": [3, 1]}
        found = cwcf_jax.encode(self.spread, _images(), **arguments)
        np.testing.assert_allclose(found, cwcf_jax.encode(self.model, _images(), **arguments), atol=1e-6)
        self.assertEqual({shard.data.shape[0] for shard in found.addressable_shards}, {1})
        self.assertLen(found.sharding.device_set, 8)

    def test_nothing_travels_between_devices(self):
        found = cwcf_jax.encode(self.spread, _images())
        images = jax.device_put(_images(), found.sharding)
        compiled = jax.jit(cwcf_jax.encode).lower(self.spread, images).compile()
        self.assertEmpty(re.findall("all-gather|all-reduce|all-to-all|collective-permute", compiled.as_text()))

        few = cwcf_jax.encode(self.spread, _images()[:3])  # cannot be shared out evenly
        np.testing.assert_allclose(few, found[:3], atol=1e-6)
        self.assertTrue(few.is_fully_replicated)

    def test_on_a_cpu_only_when_told(self):
        self.assertIs(encoder.spread(self.model), self.model)

    def test_other_axes_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"one axis, 'batch', not \('x', 'y'\)"):
            encoder.spread(self.model, Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y")))


PROCESS = """
    import json, pathlib, sys
    import jax, numpy as np
    address, process, output = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    jax.distributed.initialize(address, 2, process)
    from jax.sharding import Mesh
    import cwcf_jax
    from cwcf_jax import encoder, networks

    network = networks.get("squeezenet1_1")
    model = encoder.spread(cwcf_jax.load(network, network.initialize(0)), Mesh(np.array(jax.devices()), ("batch",)))
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
    own = slice(4 * process, 4 * process + 4)
    whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 512)))
    found = cwcf_jax.encode(model, images[own], whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 4)
    shards = sorted(found.addressable_shards, key=lambda shard: shard.index[0].start)
    try:
        cwcf_jax.encode(model, images[:3])
    except ValueError as error:
        refused = str(error)
    rows = np.concatenate([shard.data for shard in shards]).tolist()
    starts = [shard.index[0].start for shard in shards]
    output.write_text(json.dumps({"devices": jax.device_count(), "rows": rows, "starts": starts, "refused": refused}))
"""


class ProcessesTest(absltest.TestCase):
    def test_two_processes_do_what_one_does(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        folder = pathlib.Path(self.create_tempdir().full_path)
        environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROCESS), address, str(i), str(folder / f"{i}.json")],
                cwd=shared.ROOT,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]
        for process in started:
            _, errors = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, errors)
        parts = [json.loads((folder / f"{i}.json").read_text()) for i in range(2)]
        network = networks.get("squeezenet1_1")
        model = cwcf_jax.load(network, network.initialize(0))
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 512)))
        expected = cwcf_jax.encode(model, _images(), whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 8)
        np.testing.assert_allclose(np.concatenate([part["rows"] for part in parts]), expected, atol=1e-6)
        self.assertEqual([part["starts"] for part in parts], [[0, 2], [4, 6]])
        for part in parts:
            self.assertEqual(part["devices"], 4)
            self.assertIn("3 images cannot be shared out among a process's 2 devices", part["refused"])


if __name__ == "__main__":
    absltest.main()
