import hashlib
import socket

from absl.testing import absltest, parameterized

from tests.weights.fetching import CONTENT, HALF, OTHER, PAGE, FetchCase


class HashTest(FetchCase):
    @parameterized.parameters("sha256-prefix", "sha1", "md5")
    def test_kinds(self, kind):
        digits = hashlib.new(kind.removesuffix("-prefix"), CONTENT, usedforsecurity=False).hexdigest()
        self.write(hash=f"{kind}:{digits[:8] if 'prefix' in kind else digits}")
        self.assert_fetched(self.fetch()[0])

    @parameterized.parameters(("sha256", 64), ("sha256-prefix", 8))
    def test_mismatch(self, kind, count):
        self.write(hash=f"{kind}:{'0' * count}")
        _, error = self.fetch(code=1)
        for part in ("0" * count, hashlib.sha256(CONTENT).hexdigest(), "deleted"):
            self.assertIn(part, error)
        self.assert_no_file()

    def test_none(self):
        self.write(hash=None, size=None)
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("WARNING", error)
        self.assertIn(f"sha256 {hashlib.sha256(CONTENT).hexdigest()}", out)

    def test_a_file_put_there_by_hand(self):
        self.folder.mkdir(parents=True)
        self.final.write_bytes(CONTENT)
        self.assert_fetched(self.fetch()[0])
        self.final.write_bytes(OTHER)
        _, error = self.fetch(code=1)
        self.assertIn("Move it away", error)
        self.assertEqual(self.final.read_bytes(), OTHER)
        self.final.write_bytes(CONTENT[:-1])
        self.assertIn(f"{len(CONTENT) - 1} bytes", self.fetch(code=1)[1])
        self.final.write_bytes(PAGE)
        self.assertIn("web page", self.fetch(code=1)[1])
        self.assertEmpty(self.server.requests)


class FailureTest(FetchCase):
    def test_nobody_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening
            self.url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.h5"
            self.write()
            _, error = self.fetch(code=1)
        self.assertIn("cannot reach", error)
        self.assertNotIn("trying again", error)
        digits = hashlib.sha256(CONTENT).hexdigest()
        for part in (
            self.url,
            "1.2 MB",
            f"sha256 {digits}",
            str(self.final),
            "cwcf_jax.weights.fetch some",
            "cwcf_jax.weights.convert",
        ):
            self.assertIn(part, error)

    def test_no_such_host(self):
        self.write(url="https://no-such-host.invalid/weights.h5")
        _, error = self.fetch(code=1)
        self.assertIn("cannot reach https://no-such-host.invalid/weights.h5", error)
        self.assertIn(str(self.final), error)

    def test_not_found(self):
        self.server.answers = [404]
        _, error = self.fetch(code=1)
        self.assertIn("404", error)
        self.assertIn("by hand", error)
        self.assertLen(self.server.requests, 1)
        self.assert_no_file()

    def test_errors_that_last(self):
        self.server.answers = [500] * 9
        self.assertIn("500", self.fetch(code=1)[1])
        self.assertLen(self.server.requests, 5)

    def test_a_server_that_stalls(self):
        self.server.hang_after = 100
        _, error = self.fetch("some", "--timeout=0.2", code=1)
        self.assertIn("timed out", error)
        self.assert_no_file("weights.h5.part", "weights.h5.part.json")

    @parameterized.parameters("text/html; charset=utf-8", "application/octet-stream")
    def test_a_web_page(self, kind):
        self.server.content, self.server.kind = PAGE, kind
        self.write(hash=None, size=None)
        _, error = self.fetch(code=1)
        self.assertIn("web page", error)
        self.assert_no_file()

    def test_a_web_page_leaves_the_part(self):
        self.killed_midway()
        self.server.content, self.server.kind, self.server.etag = PAGE, "text/html", '"page"'
        self.fetch(code=1)
        self.assertEqual(self.part.read_bytes(), CONTENT[:HALF])

    def test_another_size(self):
        self.write(size=len(CONTENT) + 1)
        self.assertIn(f"{len(CONTENT)} bytes, not {len(CONTENT) + 1}", self.fetch(code=1)[1])
        self.assert_no_file()

    @parameterized.parameters("file:///etc/hostname", "ftp://127.0.0.1/weights.h5")
    def test_redirects_elsewhere(self, location):
        self.server.answers, self.server.location = [302], location
        _, error = self.fetch(code=1)
        self.assertIn("302" if location.startswith("file") else "neither http nor https", error)
        self.assert_no_file()

    def test_full_disk(self):
        self.write(size=10**15)
        self.server.length = False
        self.assertIn("are needed", self.fetch(code=1)[1])

    def test_command_line(self):
        out, _ = self.finish(self.start("--manifest", str(self.root / "manifest.toml")))
        header, row = out.splitlines()
        self.assertEqual(header.split(), ["name", "network", "size", "licence", "file"])
        self.assertEqual(row.split(), ["some", "vgg16", "1.2", "MB", "BSD", "weights.h5"])
        self.assertIn("some", self.fetch("other", code=1)[1])
        self.fetch("some", "some", code=1)
        (self.root / "manifest.toml").write_text("[some]\n")
        self.assertIn("lacks network", self.fetch(code=1)[1])
        self.assertFalse(self.folder.exists())


if __name__ == "__main__":
    absltest.main()
