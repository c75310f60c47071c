"""One job of two processes (`jax.distributed`), two devices each, against one process: encoding, then search."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import textwrap

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import networks
from cwcf_jax.search import nearest, online_scores
from tests.support import shared

PROCESS = """
    import json, pathlib, sys
    import jax, numpy as np
    address, process, output = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    jax.distributed.initialize(address, 2, process)
    import jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    import cwcf_jax
    from cwcf_jax import encoder, networks, search

    network = networks.get("squeezenet1_1")
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    model = encoder.spread(cwcf_jax.load(network, network.initialize(0)), mesh)
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
    own = slice(4 * process, 4 * process + 4)
    whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 512)))
    found = cwcf_jax.encode(model, images[own], whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 4)
    shards = sorted(found.addressable_shards, key=lambda shard: shard.index[0].start)
    try:
        cwcf_jax.encode(model, images[:3])
    except ValueError as error:
        refused = str(error)

    database = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)
    database[200:220] = database[:20]  # ties between the processes
    part = database[200 * process : 200 * process + 200]
    rows = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("batch")), part)
    nearest = search.nearest_sharded(jnp.asarray(database[:7]), rows, 30, mesh=mesh, axis="batch")

    random = np.random.default_rng(3)
    values = random.integers(-127, 128, (5, 40, 16), dtype=np.int8)
    scales = random.random((5, 40), dtype=np.float32)
    values[:, 20:24], scales[:, 20:24] = values[:, :4], scales[:, :4]  # ties between the processes
    images = slice(20 * process, 20 * process + 20)
    spread = NamedSharding(mesh, PartitionSpec(None, "batch"))
    values, scales = (
        jax.make_array_from_process_local_data(spread, one[:, images]) for one in (values, scales)
    )
    positions = jnp.array([4, 0, 2])
    online = search.online_nearest_sharded(
        values, scales, positions, jnp.asarray(database[0] / np.linalg.norm(database[0])), 10, mesh=mesh, axis="batch"
    )
    result = {
        "online": [np.asarray(online.rows).tolist(), np.asarray(online.scores).tolist()],
        "devices": jax.device_count(),
        "descriptors": np.concatenate([shard.data for shard in shards]).tolist(),
        "starts": [shard.index[0].start for shard in shards],
        "refused": refused,
        "rows": np.asarray(nearest.rows).tolist(),
        "scores": np.asarray(nearest.scores).tolist(),
    }
    output.write_text(json.dumps(result))
"""


class DistributedTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        files = [folder / f"{i}.json" for i in range(2)]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROCESS), address, str(i), str(file)],
                cwd=shared.ROOT,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i, file in enumerate(files)
        ]
        for process in started:
            _, errors = process.communicate(timeout=300)
            if process.returncode != 0:
                raise AssertionError(errors)
        cls.parts = [json.loads(file.read_text()) for file in files]

    def test_two_processes_encode_what_one_does(self):
        network = networks.get("squeezenet1_1")
        model = cwcf_jax.load(network, network.initialize(0))
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 512)))
        images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
        expected = cwcf_jax.encode(model, images, whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 8)
        found = np.concatenate([part["descriptors"] for part in self.parts])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        self.assertEqual([part["starts"] for part in self.parts], [[0, 2], [4, 6]])
        self.assertEqual([part["devices"] for part in self.parts], [4, 4])

    def test_a_batch_that_cannot_be_shared_out_is_refused(self):
        for part in self.parts:
            self.assertIn("3 images cannot be shared out among a process's 2 devices", part["refused"])

    def test_two_processes_find_what_one_does_ties_included(self):
        database = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)
        database[200:220] = database[:20]
        expected = nearest(jnp.asarray(database[:7]), jnp.asarray(database), 30)
        for part in self.parts:
            np.testing.assert_array_equal(part["rows"], expected.rows)
            np.testing.assert_allclose(part["scores"], expected.scores, atol=1e-6)
        for query, rows in enumerate(self.parts[0]["rows"]):
            self.assertEqual(rows[:2], [query, query + 200])

    def test_two_processes_find_under_the_query_s_classes_what_one_does(self):
        random = np.random.default_rng(3)
        values = random.integers(-127, 128, (5, 40, 16), dtype=np.int8)
        scales = random.random((5, 40), dtype=np.float32)
        values[:, 20:24], scales[:, 20:24] = values[:, :4], scales[:, :4]
        query = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)[0]
        query /= np.linalg.norm(query)
        expected = np.asarray(online_scores(values, scales, jnp.array([4, 0, 2]), jnp.asarray(query)))
        order = np.argsort(-expected, kind="stable")[:10]
        for part in self.parts:
            (rows,), (scores,) = part["online"]
            self.assertEqual(rows, order.tolist())
            np.testing.assert_allclose(scores, expected[order], atol=1e-6)


if __name__ == "__main__":
    absltest.main()
