"""One job of two processes (`jax.distributed`), two devices each, against one process.

They share out the encoding of a batch; then each searches its half of a database, and their rankings are merged.
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

    sys.path.insert(0, "tests/support")  # not as a package, which would set 8 devices
    import thin

    mesh = Mesh(np.array(jax.devices()), ("batch",))
    model = encoder.replicate(cwcf_jax.load(*thin.initialized()), mesh)
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)
    own = slice(4 * process, 4 * process + 4)
    whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 32)))
    found = cwcf_jax.encode(model, images[own], whitening=whitening, class_ids=[3, 1], sizes=[(90, 100)] * 4)
    shards = sorted(found.addressable_shards, key=lambda shard: shard.index[0].start)
    try:
        cwcf_jax.encode(model, images[:3])
    except ValueError as error:
        refused = str(error)

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
        "refused": refused,
        "rows": (np.asarray(nearest.rows) + 200 * process).tolist(),
        "scores": np.asarray(nearest.scores).tolist(),
    }
    output.write_text(json.dumps(result))
"""


def merged(parts, count):
    """Rankings of halves, (rows, scores) each, merged as an index merges those of its shards."""
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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        environment = os.environ | {"XLA_FLAGS": f"{XLA_FLAGS} --xla_force_host_platform_device_count=2"}
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
        model = cwcf_jax.load(*thin.initialized())
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((9, 32)))
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
        for query in range(7):
            rows, scores = merged([(part["rows"][query], part["scores"][query]) for part in self.parts], 30)
            self.assertEqual(rows, expected.rows[query].tolist())
            np.testing.assert_allclose(scores, expected.scores[query], atol=1e-6)
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
        rows, found = merged([part["online"] for part in self.parts], 10)
        self.assertEqual(rows, order.tolist())
        np.testing.assert_allclose(found, expected[order], atol=1e-6)


if __name__ == "__main__":
    absltest.main()
