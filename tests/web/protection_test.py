"""These tests check that tokens, origins and host names protect the application."""

import tempfile

from absl.testing import absltest, parameterized
from fastapi.testclient import TestClient

from cwcf_jax import web
from tests.support import indexes

TOKEN = "not to be guessed"  # noqa: S105


class ProtectionTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.index = indexes.make(cls.enterClassContext(tempfile.TemporaryDirectory()), range(2))

    def client(self, **options):
        return TestClient(web.create_app(self.index, **options), base_url="http://127.0.0.1:8008")

    @parameterized.parameters("/", "/page.js", "/api/index", "/api/pictures?path=1.png", "/openapi.json", "/nothing")
    def test_without_the_token(self, path):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Cookie": "cwcf_token=wrong"},
            {"Authorization": TOKEN[:3]},
        ):
            answer = self.client(token=TOKEN).get(path, headers=headers)
            self.assertEqual(answer.status_code, 401)
            self.assertIn("a token is needed", answer.json()["detail"])
        self.assertEqual(self.client(token=TOKEN).get("/?token=wrong").status_code, 401)

    def test_with_the_token(self):
        answer = self.client(token=TOKEN).get("/api/index", headers={"Authorization": f"Bearer {TOKEN}"})
        self.assertEqual(answer.status_code, 200)
        client = self.client(token="secret")  # noqa: S106
        answer = client.get("/?token=secret", follow_redirects=False)
        self.assertEqual((answer.status_code, answer.headers["location"]), (303, "/"))
        self.assertIn("httponly; path=/; samesite=strict", answer.headers["set-cookie"].lower())
        self.assertEqual(client.get("/api/index").status_code, 200)

    def test_pages_of_other_sites(self):
        for site in ("cross-site", "same-site"):
            answer = self.client().get("/api/index", headers={"Sec-Fetch-Site": site})
            self.assertEqual(answer.status_code, 403)
        for site in ("same-origin", "none"):
            self.assertEqual(self.client().get("/api/index", headers={"Sec-Fetch-Site": site}).status_code, 200)
        self.assertEqual(self.client().get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code, 200)

    def test_other_host_names(self):
        client = self.client(hosts=("127.0.0.1", "localhost"))
        self.assertEqual(client.get("/api/index").status_code, 200)
        self.assertEqual(client.get("/api/index", headers={"Host": "evil.example"}).status_code, 400)

    def test_security_headers(self):
        headers = self.client().get("/").headers
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertNotIn("unsafe", headers["content-security-policy"])
        self.assertNotIn("access-control-allow-origin", headers)


if __name__ == "__main__":
    absltest.main()
