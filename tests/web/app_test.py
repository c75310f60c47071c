"""These tests compare the HTTP API with the library."""

import io
import json
import pathlib
import tempfile
import urllib.parse

import numpy as np
from absl.testing import absltest, parameterized
from fastapi.testclient import TestClient
from PIL import Image

from cwcf_jax import web
from cwcf_jax.images import read_image
from cwcf_jax.index import Hit, QueryConfig, Searcher, explain
from tests.support import indexes

ODD_NAME = "sub/<img src=x onerror=alert(1)> & 'quote'.png"


class ApiTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        indexes.draw(cls.root / ODD_NAME, 100)
        cls.index = indexes.make(cls.root, range(12))
        cls.client = TestClient(web.create_app(cls.index), raise_server_exceptions=False)
        cls.searcher = Searcher(cls.index)

    def upload(self, file):
        answer = self.client.post("/api/uploads", content=(self.root / file).read_bytes())
        self.assertEqual(answer.status_code, 201, answer.text)
        return answer.json()

    def post(self, route, status=200, **fields):
        answer = self.client.post(f"/api/{route}", json=fields)
        self.assertEqual(answer.status_code, status, answer.text)
        return answer.json()

    def test_index(self):
        answer = self.client.get("/api/index").json()
        self.assertEqual(answer["name"], self.root.name)
        self.assertEqual(answer["pictures"], 13)
        self.assertLen(answer["classes"], 100)

    @parameterized.parameters(
        {},
        {"aggregation": "ona"},
        {"rerank": 5},
        {"expand": 3},
        {"aggregation": "ona", "rerank": 4, "expand": 2},
        {"classes": ["3", "7"]},
        {"online": 5, "reciprocal": 6},
        {"thorough": True},
        {"thorough": True, "classes": ["3", "7"]},
    )
    def test_search_equals_the_library(self, **fields):
        upload = self.upload("3.png")
        box = [5, 5, upload["width"] - 5, upload["height"] - 9]
        answer = self.post("search", upload=upload["upload"], box=box, count=4, first=1, **fields)
        fields["classes"] = tuple(fields.get("classes", ()))
        query_config = (QueryConfig.thorough if fields.pop("thorough", False) else QueryConfig)(**fields)
        image = read_image(self.root / "3.png")
        query = self.searcher.describe(self.searcher.prepare(image), box, query_config.classes)
        expected = self.searcher.search(query, query_config, count=4, first=1)
        self.assertEqual([hit["path"] for hit in answer["hits"]], [hit.entry.path for hit in expected])
        np.testing.assert_allclose([hit["score"] for hit in answer["hits"]], [hit.score for hit in expected], atol=1e-5)
        self.assertEqual([hit["box"] and tuple(hit["box"]) for hit in answer["hits"]], [hit.box for hit in expected])
        self.assertEqual(answer["pictures"], 13)

    def test_a_query_with_a_picture_of_the_index(self):
        answer = self.post("search", path=ODD_NAME)
        self.assertEqual(answer["hits"][0]["path"], ODD_NAME)
        self.assertAlmostEqual(answer["hits"][0]["score"], 1.0, places=4)

    def test_query_shows_classes_and_heat(self):
        query = self.post("query", path="3.png")
        self.assertLen(query["classes"], indexes.CONFIG.num_classes)
        probabilities = [query_class["probability"] for query_class in query["classes"]]
        self.assertEqual(probabilities, sorted(probabilities, reverse=True))
        heat = np.array(query["heat"])
        self.assertBetween(heat.min(), 0, 1)
        self.assertAlmostEqual(heat.max(), 1, delta=0.5)
        query = self.post("query", path="3.png", classes=["5"])
        self.assertLen(query["classes"], 1)

    @parameterized.parameters(0, 5)
    def test_explanation_sums_to_the_score(self, rerank):
        hit = self.post("search", path="3.png", rerank=rerank)["hits"][2]
        explanation = self.post("explain", path="3.png", rerank=rerank, hit=hit["path"], cells=hit["cells"])
        self.assertAlmostEqual(explanation["score"], hit["score"], delta=1e-5)
        self.assertAlmostEqual(
            sum(pair["share"] for pair in explanation["pairs"]) + explanation["rest"], hit["score"], delta=1e-5
        )
        self.assertAlmostEqual(np.sum(explanation["cells"]) + explanation["constant"], hit["score"], delta=1e-5)
        query = self.searcher.describe(self.searcher.prepare_indexed("3.png"))
        entry = self.searcher.ranker().entry(hit["path"])
        cells = hit["cells"] and tuple(hit["cells"])
        expected = explain(self.searcher, query, Hit(entry, 0.0, cells=cells), QueryConfig(rerank=rerank))
        self.assertEqual(
            [tuple(pair.values())[:2] for pair in explanation["pairs"]], [pair[:2] for pair in expected.pairs]
        )

    def test_picture_is_a_small_jpeg(self):
        for side, max_side in ((320, 96), (1280, 96)):
            answer = self.client.get("/api/pictures", params={"path": ODD_NAME, "side": side})
            self.assertEqual(answer.headers["content-type"], "image/jpeg")
            with Image.open(io.BytesIO(answer.content)) as image:
                self.assertEqual(image.format, "JPEG")
                self.assertLessEqual(max(image.size), max_side)

    def test_a_change_of_the_index(self):
        indexes.draw(self.root / "new.png", 77)
        self.index.update()
        self.addCleanup(self.index.update)
        self.addCleanup((self.root / "new.png").unlink)
        self.assertEqual(self.post("search", path="new.png")["hits"][0]["path"], "new.png")

    def test_an_index_without_pictures(self):
        root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        index = indexes.make(root, range(2))
        content = (root / "1.png").read_bytes()
        index.remove(["0.png", "1.png"])
        with TestClient(web.create_app(index)) as client:
            self.assertEqual(client.get("/api/index").json()["pictures"], 0)
            upload = client.post("/api/uploads", content=content).json()["upload"]
            response = client.post("/api/search", json={"upload": upload, "rerank": 5, "expand": 3}).json()
        self.assertEqual((response["pictures"], response["hits"]), (0, []))

    @parameterized.parameters(
        ("search", {"path": "3.png", "box": [9, 9, 3, 20]}, 422, "does not lie within"),
        ("search", {"path": "3.png", "box": [0, 0, 1e9, 20]}, 422, "does not lie within"),
        ("search", {"path": "3.png", "box": [0, 0, 20]}, 422, "box"),
        ("search", {"path": "3.png", "classes": ["no such class"]}, 422, "is not a class"),
        ("search", {"path": "3.png", "count": 0}, 422, "count"),
        ("search", {"path": "3.png", "rerank": -1}, 422, "rerank"),
        ("search", {"path": "3.png", "aggregation": "sum"}, 422, "aggregation"),
        ("search", {"path": "3.png", "aggregation": "ona", "online": 3}, 422, "online changes nothing where"),
        ("search", {"path": "3.png", "thorough": True, "rerank": 3}, 422, "leave out rerank, or thorough"),
        ("explain", {"path": "3.png", "thorough": True, "expand": 3, "hit": "3.png"}, 422, "leave out expand"),
        ("search", {"path": "3.png", "unknown": 1}, 422, "unknown"),
        ("search", {"path": "3.png", "upload": "0" * 64}, 422, "either an upload or a path"),
        ("search", {}, 422, "either an upload or a path"),
        ("search", {"path": "nothing.png"}, 404, "no such picture in the index"),
        ("search", {"path": "../index.json"}, 404, "no such picture in the index"),
        ("search", {"path": "/etc/passwd"}, 404, "no such picture in the index"),
        ("search", {"upload": "0" * 64}, 404, "send it again"),
        ("explain", {"path": "3.png", "hit": "nothing.png"}, 404, "no such picture in the index"),
    )
    def test_refusals(self, route, fields, status, message):
        self.assertIn(message, self.post(route, status, **fields)["detail"])

    @parameterized.parameters("../../etc/passwd", "/etc/passwd", ".cwcf/index.json", "..%2f..%2fetc/passwd", "3.png\0")
    def test_only_pictures_of_the_index_are_served(self, path):
        answer = self.client.get("/api/pictures", params={"path": path})
        self.assertEqual((answer.status_code, answer.json()["detail"]), (404, "no such picture in the index"))
        self.assertEqual(self.client.get(f"/{urllib.parse.quote(path)}").status_code, 404)

    def test_a_picture_without_a_file(self):
        indexes.draw(self.root / "gone.png", 88)
        self.index.update()
        (self.root / "gone.png").unlink()
        self.addCleanup(self.index.update)
        answer = self.client.get("/api/pictures", params={"path": "gone.png"})
        self.assertEqual(answer.status_code, 404)
        self.assertIn("update the index with cwcf index", answer.json()["detail"])

    def test_openapi_describes_every_route(self):
        description = self.client.get("/openapi.json").json()
        self.assertEqual(
            set(description["paths"]),
            {"/api/index", "/api/uploads", "/api/query", "/api/search", "/api/explain", "/api/pictures"},
        )
        upload = description["paths"]["/api/uploads"]["post"]
        self.assertEqual(
            upload["requestBody"]["content"], {"image/*": {"schema": {"type": "string", "format": "binary"}}}
        )
        self.assertLessEqual({"201", "413", "415", "422"}, set(upload["responses"]))
        for path in description["paths"].values():
            for operation in path.values():
                self.assertTrue(operation["description"])
        json.dumps(description)

    def test_the_page_loads_nothing_from_other_sites(self):
        for name in ("", "page.js", "page.css", "api.js", "box.js", "heat.js", "results.js", "icon.svg"):
            answer = self.client.get(f"/{name}")
            self.assertEqual(answer.status_code, 200, name)
            self.assertNotIn("https:", answer.text)
            self.assertIn("default-src 'self'", answer.headers["content-security-policy"])


if __name__ == "__main__":
    absltest.main()
