"""These tests run ``cwcf`` in another process, as users do."""

import contextlib
import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import urllib.request

from absl.testing import absltest

from tests.cli.commands import CommandCase
from tests.support import thin
from tests.support.slow import slow


class ProcessTest(CommandCase):
    def test_exit_codes_and_streams(self):
        for arguments, code, out, err in (
            (("search", "sub/3.png", "--count=1"), 0, "sub/3.png\n", ""),
            (("search", "nothing.png"), 1, "", "cwcf: nothing.png: no such file\n"),
            (("search",), 2, "", "error: the following arguments are required: image\n"),
        ):
            done = subprocess.run(
                thin.program(*arguments),
                cwd=self.root,
                env=self.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, code)
            for actual, expected in ((done.stdout, out), (done.stderr, err)):
                self.assertTrue(actual.endswith(expected) if expected else actual == "", actual)

    def test_help_does_not_load_jax(self):
        code = "import sys; from cwcf_jax.cli import parser; parser.build(); assert 'jax' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_closed_pipe(self):
        command = f"{shlex.join(thin.program('search', 'sub/3.png'))} | head -n 0"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_serve_until_interrupted(self):
        with self.served("--port=0") as (server, address):
            self.assertRegex(address, r"^http://127\.0\.0\.1:\d+/$")
            with urllib.request.urlopen(f"{address}api/index") as answer:
                self.assertEqual(json.load(answer)["pictures"], 6)
            server.send_signal(signal.SIGINT)
            self.assertEqual(server.wait(20), 0)

    @slow
    @absltest.skipUnless(sys.platform == "linux", "DID NOT RUN: needs glibc, which only Linux has")
    def test_glibc_tunables(self):
        for user_value, expected in (None, "glibc.malloc.hugetlb=1"), ("", ""):  # glibc replaces colons by zero bytes
            environment = {} if user_value is None else {"GLIBC_TUNABLES": user_value}
            with self.served("--port=0", **environment) as (server, _):
                content = pathlib.Path(f"/proc/{server.pid}/environ").read_text()
                self.assertIn(f"GLIBC_TUNABLES={expected}", re.split("[\0:]", content))

    def test_serve_for_the_network_needs_a_token(self):
        with self.served("--port=0", "--host=0.0.0.0") as (_, address):
            base, token = address.split("?token=")
            self.assertGreater(len(token), 20)
            local = f"http://127.0.0.1:{base.rstrip('/').rsplit(':', 1)[1]}/"
            with self.assertRaisesRegex(OSError, "401"):
                urllib.request.urlopen(f"{local}api/index")
            request = urllib.request.Request(f"{local}api/index", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request) as answer:
                self.assertEqual(answer.status, 200)

    @contextlib.contextmanager
    def served(self, *flags, **extra_environment):
        command = thin.program("serve", *flags)
        environment = self.environment() | extra_environment
        with subprocess.Popen(command, cwd=self.root, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield server, server.stdout.readline().split(" at ")[1].split()[0]
            finally:
                server.kill()


if __name__ == "__main__":
    absltest.main()
