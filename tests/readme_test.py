"""The Python in README.md runs as it stands there."""

import dataclasses
import os
import pathlib
import re

from absl.testing import absltest

from tests import shared


class ReadmeTest(absltest.TestCase):
    def test_python_blocks(self):
        shared.require("weights/googlenet_bvlc.npz")
        blocks = re.findall(
            r"^```python\n(.*?)^```$", (shared.ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
        )
        self.assertNotEmpty(blocks)
        before = pathlib.Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(shared.ROOT)
        namespace = {}
        for block in blocks:
            exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102
        self.assertEqual(namespace["descriptors"].shape, (2, 832))

    def test_commands_of_ci_stand_in_the_readme(self):
        lines = (shared.ROOT / "README.md").read_text().splitlines()
        for command in ("&& python -m experiments.ablation", "&& python -m pytest"):
            self.assertLen([line for line in lines if command in line], 1)

    def test_every_flag_that_is_named_exists(self):
        from absl import flags

        import experiments.protocol_flags  # noqa: F401  (defines a flag for each field of a protocol)
        from cwcf_jax.training import TrainingConfig

        text = (shared.ROOT / "README.md").read_text()
        named = set(re.findall(r"`--([a-z_]+)", text)) | set(re.findall(r" --([a-z_]+)=", text))
        # Drivers share names of flags, so that one process cannot import them all.
        drivers = [*(shared.ROOT / "experiments").glob("*.py"), *(shared.ROOT / "weights").glob("*.py")]
        defined = {name for file in drivers for name in re.findall(r'DEFINE_\w+\(\s*"(\w+)"', file.read_text())}
        settings = {field.name for field in dataclasses.fields(TrainingConfig)}
        self.assertEmpty(named - set(flags.FLAGS) - defined - settings - {"flagfile", "help"})  # absl's own

    def test_every_program_that_is_named_exists(self):
        pages = [shared.ROOT / "README.md", shared.ROOT / "weights" / "README.md", *(shared.ROOT / "docs").glob("*.md")]
        named = {
            name
            for page in pages
            for name in re.findall(r"\b(?:experiments|weights|benchmarks)\.\w+", page.read_text())
        }
        self.assertGreater(len(named), 10)
        for name in named - {"weights.html"}:
            self.assertTrue((shared.ROOT / f"{name.replace('.', '/')}.py").is_file(), name)


if __name__ == "__main__":
    absltest.main()
