import importlib.metadata
import json
import subprocess
from unittest import mock

from absl.testing import absltest

from experiments import results

COMMAND = ("experiments.table1a", "--dataset=my pictures", "--nc=64")


class EnvironmentTest(absltest.TestCase):
    def test_the_command_can_be_run_again(self):
        actual = results.environment(COMMAND)
        self.assertEqual(actual["command"], "python -m experiments.table1a '--dataset=my pictures' --nc=64")

    def test_what_the_numbers_depend_on(self):
        actual = results.environment(COMMAND)
        self.assertEqual(actual["packages"]["jax"], importlib.metadata.version("jax"))
        self.assertContainsSubset(["python", *results.PACKAGES], actual["packages"])
        self.assertEqual(actual["hardware"]["platform"], "cpu")
        self.assertTrue(actual["hardware"]["devices"] and actual["hardware"]["processor"])
        self.assertRegex(actual["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
        json.dumps(actual)

    def test_the_commit_with_what_was_changed(self):
        with mock.patch.object(subprocess, "run") as run:
            run.return_value.stdout = "0123456789abcdef0123456789abcdef01234567-dirty\n"
            self.assertEqual(
                results.environment(COMMAND)["commit"],
                "0123456789abcdef0123456789abcdef01234567-dirty",
            )
        self.assertContainsSubset(["--dirty", "--always"], run.call_args.args[0])

    def test_outside_a_checkout_and_without_packages(self):
        for error in (OSError("no git"), subprocess.CalledProcessError(128, "git")):
            with mock.patch.object(subprocess, "run", side_effect=error):
                self.assertIsNone(results.environment(COMMAND)["commit"])
        missing = importlib.metadata.PackageNotFoundError
        with mock.patch.object(importlib.metadata, "version", side_effect=missing):
            self.assertIsNone(results.environment(COMMAND)["packages"]["cwcf-jax"])


if __name__ == "__main__":
    absltest.main()
