"""Tests that compare a job of two processes (`jax.distributed`), with two devices each, with one process.

The processes divide a batch of images to encode. Then each process searches one half of a database, and the test merges
the rankings.
"""

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
from cwcf_jax.index import TableEntry, ranker
from cwcf_jax.search import nearest, online_scores
from tests.support import shared, thin
from tests.support.slow import XLA_FLAGS

PROCESS = """
    import json, pathlib, sys
    import jax, numpy as np
    address, process, output = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    jax.distributed.initialize(address, 2, process)
    import jax.numpy as jnp
    from jax.sharding import Mesh
    import cwcf_jax
    from cwcf_jax import encoder, search
    from cwcf_jax.search import online

    sys.path.insert(0, "tests/support")  # the package `tests` would set 8 devices
    import thin

    mesh = Mesh(np.array(jax.devices()), ("batch",))
    model = encoder.replicate(cwcf_jax.load(*thin.initialized()), mesh)
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
    own = slice(4 * process, 4 * process + 4)
    whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 32)))
    descriptors = cwcf_jax.encode(model, images[own], whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 4)
    shards = sorted(descriptors.addressable_shards, key=lambda shard: shard.index[0].start)
    try:
        cwcf_jax.encode(model, images[:3])
    except ValueError as error:
        message = str(error)

    database = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)
    database[200:220] = database[:20]  # ties between the processes
    nearest = search.nearest(jnp.asarray(database[:7]), database[200 * process : 200 * process + 200], 30)

    random = np.random.default_rng(3)
    values = random.integers(-127, 128, (5, 40, 16), dtype=np.int8)
    scales = random.random((5, 40), dtype=np.float32)
    values[:, 20:24], scales[:, 20:24] = values[:, :4], scales[:, :4]  # ties between the processes
    half = slice(20 * process, 20 * process + 20)
    query = jnp.asarray(database[0] / np.linalg.norm(database[0]))
    scores = search.online_scores(values[:, half], scales[:, half], jnp.array([4, 0, 2]), query)
    classes = online.best(np.asarray(scores), 10)
    result = {
        "online": [(classes.rows + 20 * process).tolist(), classes.scores.tolist()],
        "devices": jax.device_count(),
        "descriptors": np.concatenate([shard.data for shard in shards]).tolist(),
        "starts": [shard.index[0].start for shard in shards],
        "message": message,
        "rows": (np.asarray(nearest.rows) + 200 * process).tolist(),
        "scores": np.asarray(nearest.scores).tolist(),
    }
    output.write_text(json.dumps(result))
"""


def merge(parts, count):
    """Merges rankings of parts of a database, each (rows, scores), as an index merges the rankings of shards."""
    ranked = ranker.merge(
        [
            ranker.RankedEntries(
                tuple(TableEntry(f"{row:03}", "", 0, 0, 0, 0, 0, row) for row in rows), np.array(scores)
            )
            for rows, scores in parts
        ],
        count,
    )
    return [entry.row for entry in ranked.entries], ranked.scores


class DistributedTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with socket.socket() as unused_port:
            unused_port.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unused_port.getsockname()[1]}"
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        environment = os.environ | {"XLA_FLAGS": f"{XLA_FLAGS} --xla_force_host_platform_device_count=2"}
        files = [folder / f"{i}.json" for i in range(2)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROCESS), address, str(i), str(file)],
                cwd=shared.ROOT,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i, file in enumerate(files)
        ]
        for process in processes:
            _, errors = process.communicate(timeout=300)
            if process.returncode != 0:
                raise AssertionError(errors)
        cls.results = [json.loads(file.read_text()) for file in files]

    def test_two_processes_encode_like_one(self):
        model = cwcf_jax.load(*thin.initialized())
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 32)))
        images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
        expected = cwcf_jax.encode(model, images, whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 8)
        actual = np.concatenate([result["descriptors"] for result in self.results])
        np.testing.assert_allclose(actual, expected, atol=1e-6)
        self.assertEqual([result["starts"] for result in self.results], [[0, 2], [4, 6]])
        self.assertEqual([result["devices"] for result in self.results], [4, 4])

    def test_a_batch_that_cannot_be_divided_is_refused(self):
        for result in self.results:
            self.assertIn("3 images cannot be divided among a process's 2 devices", result["message"])

    def test_two_processes_search_like_one_also_with_equal_scores(self):
        database = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)
        database[200:220] = database[:20]
        expected = nearest(jnp.asarray(database[:7]), jnp.asarray(database), 30)
        for query in range(7):
            parts = [(result["rows"][query], result["scores"][query]) for result in self.results]
            rows, scores = merge(parts, 30)
            self.assertEqual(rows, expected.rows[query].tolist())
            np.testing.assert_allclose(scores, expected.scores[query], atol=1e-6)
            self.assertEqual(rows[:2], [query, query + 200])

    def test_two_processes_search_online_like_one(self):
        random = np.random.default_rng(3)
        values = random.integers(-127, 128, (5, 40, 16), dtype=np.int8)
        scales = random.random((5, 40), dtype=np.float32)
        values[:, 20:24], scales[:, 20:24] = values[:, :4], scales[:, :4]
        query = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)[0]
        query /= np.linalg.norm(query)
        expected = np.asarray(online_scores(values, scales, jnp.array([4, 0, 2]), jnp.asarray(query)))
        order = np.argsort(-expected, kind="stable")[:10]
        rows, actual = merge([result["online"] for result in self.results], 10)
        self.assertEqual(rows, order.tolist())
        np.testing.assert_allclose(actual, expected[order], atol=1e-6)


if __name__ == "__main__":
    absltest.main()
