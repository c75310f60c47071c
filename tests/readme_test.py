"""Tests that run the Python blocks and the commands of README.md and docs/."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

from absl import flags
from absl.testing import absltest

from cwcf_jax.cli import entry, parser
from tests.support import shared
from tests.support.slow import slow


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", (shared.ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


class ReadmeTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pictures = shared.require("data/oxford_dev/jpg")
        shared.require("weights/googlenet_bvlc.npz")
        home = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (home / "shared").symlink_to(pictures.parents[2])
        cls.folder = home / "checkout"
        for photographs in (cls.folder / "photographs", home / "Photos"):
            photographs.mkdir(parents=True)
            for source in sorted(pictures.glob("ashmolean*.jpg"))[:4]:
                shutil.copy(source, photographs)
            shutil.copy(pictures / "all_souls_000075.jpg", photographs / "church.jpg")
        cls.home = home

    @slow
    def test_python_blocks(self):
        self.enterContext(contextlib.chdir(self.folder))
        namespace = {}
        python_blocks = [*blocks("README.md", "python"), *blocks("docs/collections.md", "python")]
        self.assertGreater(len(python_blocks), 3)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            for block in python_blocks:
                exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102
        self.assertEqual(namespace["descriptors"].shape, (2, 832))
        self.assertEqual(namespace["hits"][0].entry.path, "church.jpg")
        self.assertLen(out.getvalue().splitlines(), 5 + 1)

    @slow
    def test_commands_of_the_quick_start(self):
        (block,) = (block for block in blocks("README.md", "bash") if "cwcf index" in block)
        lines = [line for line in block.splitlines() if line.startswith("cwcf ")]
        self.assertGreater(len(lines), 3)
        self.enterContext(mock.patch.dict(os.environ, {"HOME": str(self.home)}))
        self.enterContext(contextlib.chdir(self.home / "Photos"))
        outputs = []
        for line in lines:
            arguments = parser.build().parse_args(shlex.split(line, comments=True)[1:])
            if arguments.command == "serve":
                continue  # `self.curl` starts a server
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(entry.call(arguments), 0, line)
            outputs.append(out.getvalue())
        self.assertIn("5 added", outputs[0])
        for output in outputs[1:]:
            self.assertRegex(output, r"^   1  \d\.\d+  church\.jpg")
        self.curl()

    def curl(self):
        (block,) = blocks("docs/http_api.md", "bash")
        command = [sys.executable, "-m", "cwcf_jax", "serve", "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                address = server.stdout.readline().split(" at http://")[1].split("/")[0]
                script = block.replace("localhost:8008", address)
                completed = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
            finally:
                server.kill()
        self.assertEqual(json.loads(completed.stdout)["hits"][0]["path"], "church.jpg")

    def test_the_readme_has_the_commands_of_ci(self):
        lines = (shared.ROOT / "README.md").read_text().splitlines()
        for command in ("&& python -m experiments.ablation", "&& python -m pytest"):
            self.assertLen([line for line in lines if command in line], 1)

    def test_flags_in_the_readme_exist(self):
        text = (shared.ROOT / "README.md").read_text()
        mentioned = set(re.findall(r"`--([a-z_]+)", text)) | set(re.findall(r" --([a-z_]+)=", text))
        defined = {"flagfile", "help"}  # flags of absl
        for file in (shared.ROOT / "experiments").glob("*.py"):
            if program := getattr(importlib.import_module(f"experiments.{file.stem}"), "PROGRAM", None):
                values = flags.FlagValues()
                program.define_flags(values)
                defined |= set(values)
        parsers = ("cli/parser.py", "weights/commands.py")
        source = "".join((shared.ROOT / "cwcf_jax" / file).read_text() for file in parsers)
        defined |= set(re.findall(r'"--(\w+)"', source))
        self.assertGreater(len(mentioned), 20)
        self.assertEmpty(mentioned - defined)

    def test_programs_in_the_documents_exist(self):
        pages = [shared.ROOT / "README.md", shared.ROOT / "weights" / "README.md", *(shared.ROOT / "docs").glob("*.md")]
        mentioned = {
            name
            for page in pages
            for name in re.findall(r"\b(?:experiments|cwcf_jax\.weights|benchmarks)\.\w+", page.read_text())
        }
        self.assertGreater(len(mentioned), 10)
        for name in mentioned:
            self.assertTrue((shared.ROOT / f"{name.replace('.', '/')}.py").is_file(), name)


if __name__ == "__main__":
    absltest.main()
