"""This module runs commands of ``cwcf`` on an index of six pictures."""

import contextlib
import io
import os
import pathlib
import subprocess
import tempfile
from unittest import mock

from absl.testing import parameterized

from cwcf_jax.cli import entry, parser
from tests.support import indexes

MAKE = "--weights", str(indexes.WEIGHTS), "--resize=none", "--dim=16", "--nc=8"


class CommandCase(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.root = cls.home / "pictures"
        for seed in range(6):
            indexes.draw(cls.root / "sub" / f"{seed}.png", seed)
        cls.run_command("index", cls.root, *MAKE)

    @classmethod
    def environment(cls, **changes):
        without_cwcf = {name: value for name, value in os.environ.items() if not name.startswith("CWCF_")}
        return {**without_cwcf, "XDG_CACHE_HOME": str(cls.home / "caches"), **changes}

    @classmethod
    def run_command(cls, *arguments, code=0, cwd=None, **environment):
        """Runs a command in this process, which has loaded JAX already; `process_test` starts other processes."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, cls.environment(**environment), clear=True),
            contextlib.chdir(cwd or cls.root),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                returncode = entry.call(parser.build().parse_args(list(map(str, arguments))))
            except SystemExit as error:
                returncode = error.code
        done = subprocess.CompletedProcess(arguments, returncode, out.getvalue(), err.getvalue())
        if done.returncode != code:
            raise AssertionError(f"exit code {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
        return done

    def fails(self, *arguments, code=1, **environment):
        """Runs a command that must fail; returns its stderr."""
        done = self.run_command(*arguments, code=code, **environment)
        self.assertEqual(done.stdout, "")
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr
