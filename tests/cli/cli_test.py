"""These tests call the commands of ``cwcf`` in this process; `process_test` starts other processes."""

import dataclasses
import json
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

import faiss
import numpy as np
import pyarrow.parquet
from absl.testing import absltest, parameterized

from cwcf_jax.index import Index, QueryConfig
from cwcf_jax.store import ClassVectorStore
from tests.cli.commands import MAKE, CommandCase
from tests.support import indexes, servers


class IndexTest(CommandCase):
    def test_changes(self):
        root = self.home / "changing"
        for seed in range(4):
            indexes.draw(root / f"{seed}.png", seed)
        (root / "broken.jpg").write_bytes(b"no picture")
        done = self.run_command("index", root, *MAKE)
        self.assertRegex(
            done.stdout, r"^4 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 1 unreadable; \d+\.\d s\n$"
        )
        self.assertRegex(
            done.stderr, r"^left out: .*broken\.jpg.*\n$"
        )  # without a progress bar, since stderr is no terminal
        (root / "broken.jpg").unlink()
        (root / "0.png").rename(root / "moved.png")
        (root / "1.png").unlink()
        indexes.draw(root / "2.png", 200)
        indexes.draw(root / "new.png", 300)
        done = self.run_command("index", cwd=root)
        self.assertIn("1 added, 1 changed, 1 moved, 1 removed, 1 unchanged, 0 unreadable", done.stdout)
        self.assertIn("1 removed", self.run_command("remove", "new.png", cwd=root).stdout)
        self.assertIn("0 added", self.run_command("index", cwd=root).stdout)
        self.assertIn("1 added", self.run_command("index", ".", "new.png", cwd=root).stdout)

    def test_strict(self):
        root = self.home / "strict"
        indexes.draw(root / "1.png", 1)
        (root / "broken.jpg").write_bytes(b"no picture")
        self.run_command("index", root, *MAKE, "--strict", code=1)
        self.assertIn("pictures     1 of", self.run_command("status", cwd=root).stdout)

    def test_an_index_outside_the_folder(self):
        root, folder = self.home / "card", self.home / "index"
        indexes.draw(root / "1.png", 1)
        self.run_command("index", root, f"--index={folder}", *MAKE)
        self.assertEqual({file.name for file in root.iterdir()}, {"1.png"})
        done = self.run_command("search", root / "1.png", cwd=self.home, CWCF_INDEX=str(folder))
        self.assertIn("1.png", done.stdout)
        self.assertIn("is the index of", self.fails("index", self.root, f"--index={folder}"))

    def test_pictures_on_an_object_store(self):
        address, folder = "s3://bucket/pictures", self.home / "of a bucket"
        with servers.s3_client() as client:
            for path in sorted(self.root.rglob("*.png"))[:2]:
                client.upload_file(str(path), "bucket", f"pictures/{path.name}")
            self.assertIn("needs a folder on this machine: --index=", self.fails("index", address, *MAKE))
            done = self.run_command("index", address, f"--index={folder}", *MAKE)
            self.assertIn("2 added", done.stdout)
            self.assertIn("is the index of", self.fails("index", f"{address}2", f"--index={folder}"))
            done = self.run_command("search", f"{address}/1.png", f"--index={folder}", "--json")
            content = json.loads(done.stdout)
            self.assertEqual((content["root"], content["hits"][0]["path"]), (address, "1.png"))
            status = json.loads(self.run_command("status", "--json", f"--index={folder}").stdout)
            self.assertEqual((status["root"], status["pictures"]), (address, 2))

    def test_weights_from_the_environment(self):
        root = self.home / "environment"
        indexes.draw(root / "1.png", 1)
        self.run_command("index", root, *MAKE[2:], CWCF_WEIGHTS=f"thin_cam:{indexes.WEIGHTS}")

    def test_weights_found_automatically(self):
        root, cache = self.home / "found", self.home / "caches" / "cwcf" / "weights"
        cache.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, cache)
        shutil.copy(indexes.WEIGHTS, cache)
        indexes.draw(root / "1.png", 1)
        self.run_command("index", root, "--network=thin_cam", *MAKE[2:], CWCF_WEIGHTS="/nowhere.npz")
        self.assertIn("1.png", self.run_command("search", "1.png", cwd=root).stdout)
        self.assertIn("thin_cam, weights found automatically", self.run_command("status", cwd=root).stdout)
        self.assertIn("made without --weights", self.fails("index", root, "--weights", indexes.WEIGHTS))

    def test_own_classes_and_compact_indexes(self):
        for flag in ("--own=5", "--compact"):
            root = self.home / flag
            for seed in range(3):
                indexes.draw(root / f"{seed}.png", seed)
            self.run_command("index", root, *MAKE, flag)
            self.run_command("remove", "0.png", cwd=root)
            self.assertIn("0 added", self.run_command("index", root, "1.png", flag, "--rebuild").stdout)
            vectors = ClassVectorStore(Index(root / ".cwcf").generation_paths().vectors)
            self.assertEqual((vectors.length, vectors.layout.own), (2, 5 if flag == "--own=5" else 0))
            self.assertIn("1.png", self.run_command("search", "1.png", cwd=root).stdout.splitlines()[0])
        self.assertIn("made without --compact", self.fails("index", "--compact"))
        self.assertIn("made with --own=128", self.fails("index", "--own=5"))

    def test_errors(self):
        empty = self.home / "empty"
        empty.mkdir(exist_ok=True)
        self.assertIn("no such folder", self.fails("index", self.home / "nowhere", *MAKE))
        self.assertIn("`cwcf weights fetch googlenet_bvlc`", self.fails("index", empty, "--network=googlenet"))
        contradicting = f"--weights=thin_cam:{indexes.WEIGHTS}", "--network=googlenet"
        self.assertIn("are of thin_cam, --network names googlenet", self.fails("index", empty, *contradicting))
        self.assertIn("made with --network=thin_cam", self.fails("index", "--network=googlenet"))
        self.assertIn("no such weights", self.fails("index", empty, "--weights=nothing.npz"))
        self.assertIn("unknown resize", self.fails("index", empty, *MAKE[:2], "--resize=big"))
        self.assertIn("made with --dim=16", self.fails("index", "--dim=17"))
        self.assertIn("dim must be at least 1, or 0", self.fails("index", empty, *MAKE[:2], "--dim=-1"))
        self.assertIn("made with --pooling=sum", self.fails("index", "--pooling=gem"))
        self.assertFalse((empty / ".cwcf").exists())


class SearchTest(CommandCase):
    def test_lines(self):
        lines = self.run_command("search", "sub/3.png", "--count=3").stdout.splitlines()
        self.assertLen(lines, 3)
        self.assertRegex(lines[0], r"^   1  (1\.0000|0\.99\d\d)  sub/3\.png$")
        lines = self.run_command("search", "sub/3.png", "--rerank=2", "--explain", "--count=1").stdout.splitlines()
        self.assertRegex(lines[0], r"  region \d+,\d+,\d+,\d+$")
        self.assertRegex(lines[1], r"^ +\d+\.\d%  .+ - .+$")

    @parameterized.parameters(
        ((), {}),
        (("--aggregation=ona", "--expand=2"), {"aggregation": "ona", "expand": 2}),
        (("--classes=3, 7",), {"classes": ("3", "7")}),
        (("--online=4", "--reciprocal=5"), {"online": 4, "reciprocal": 5}),
        (("--thorough",), dataclasses.asdict(QueryConfig.thorough())),
    )
    def test_json_equals_the_library(self, flags, fields):
        box = (4.0, 3.0, 40.0, 41.0)
        text = self.run_command("search", "sub/3.png", "--box=4,3,40,41", "--json", *flags).stdout
        expected = Index(self.root).search(self.root / "sub" / "3.png", box=box, options=QueryConfig(**fields))
        actual = json.loads(text)
        self.assertEqual([hit["path"] for hit in actual["hits"]], [hit.entry.path for hit in expected])
        np.testing.assert_allclose([hit["score"] for hit in actual["hits"]], [hit.score for hit in expected], atol=1e-5)
        self.assertEqual(actual["root"], str(self.root.resolve()))

    def test_from_other_folders(self):
        self.assertIn("sub/3.png", self.run_command("search", self.root / "sub" / "3.png", cwd="/").stdout)
        self.assertIn("sub/3.png", self.run_command("search", "3.png", cwd=self.root / "sub").stdout)

    def test_errors(self):
        (self.root / "letter.txt").write_text("no picture")
        for arguments, message in (
            (("nothing.png",), "no such file"),
            (("letter.txt",), "letter.txt"),
            (("sub/3.png", "--box=0,0,9999,10"), "does not lie within"),
            (("sub/3.png", "--classes=unicorn"), "'unicorn' is not a class"),
            (("sub/3.png", "--thorough", "--rerank=3"), "a thorough search chooses rerank itself"),
            (("sub/3.png", "--classes=3", "--online=3"), "online changes nothing where"),
            (("sub/3.png", f"--index={self.home}/nowhere"), "no index in"),
        ):
            self.assertIn(message, self.fails("search", *arguments))
        with tempfile.TemporaryDirectory() as outside:
            indexes.draw(pathlib.Path(outside, "1.png"), 1)
            self.assertIn("no index in this folder or a folder above", self.fails("search", "1.png", cwd=outside))

    def test_wrong_arguments(self):
        for arguments in (("--box=1,2,3",), ("--aggregation=sum",), ("--rerank=-1",), ("--classes=a,,b",)):
            self.assertIn("usage: cwcf search", self.fails("search", "sub/3.png", *arguments, code=2))
        self.assertIn("usage: cwcf", self.fails("search", "sub/3.png", "--what", code=2))
        self.assertIn("usage: cwcf", self.fails("unknown", code=2))
        self.assertIn("usage: cwcf", self.fails(code=2))


class OtherCommandsTest(CommandCase):
    def test_status(self):
        lines = self.run_command("status").stdout
        self.assertIn(f"pictures     6 of {self.root.resolve()}", lines)
        self.assertIn("descriptors  16 dimensions, 8 classes, resize none", lines)
        content = json.loads(self.run_command("status", "--json").stdout)
        self.assertEqual((content["pictures"], content["settings"]["dim"]), (6, 16))

    def test_remove_refuses_unknown_pictures(self):
        self.assertIn("not in the index: nothing.png", self.fails("remove", "sub/1.png", "nothing.png"))
        self.assertIn("pictures     6 of", self.run_command("status").stdout)

    def test_export(self):
        snapshot = Index(self.root).snapshot()
        self.run_command("export", self.home / "out.parquet")
        table = pyarrow.parquet.read_table(self.home / "out.parquet")
        self.assertEqual(table["path"].to_pylist(), [entry.path for entry in snapshot.entries])
        np.testing.assert_array_equal(np.array(table["descriptor"].to_pylist(), np.float32), snapshot.descriptors)
        self.run_command("export", self.home / "out.faiss")
        paths = json.loads((self.home / "out.faiss.json").read_text())
        scores, rows = faiss.read_index(str(self.home / "out.faiss")).search(snapshot.descriptors[2:3], 1)
        self.assertEqual(paths[rows[0, 0]], snapshot.entries[2].path)
        self.assertAlmostEqual(scores[0, 0], 1, places=5)
        self.assertIn("known: .parquet, .faiss", self.fails("export", self.home / "out.csv"))
        self.assertIn("nowhere", self.fails("export", self.home / "nowhere" / "out.parquet"))

    def test_missing_packages_name_their_extra(self):
        for arguments, module, extra in (
            (("export", "out.parquet"), "pyarrow", "index"),
            (("serve",), "fastapi", "web"),
        ):
            command = f"cwcf_jax.cli.{arguments[0]}"
            loaded = {name: None for name in sys.modules if name.split(".")[0] == module}
            with mock.patch.dict(sys.modules, {**loaded, module: None}):
                for name in (command, *(name for name in sys.modules if name.startswith("cwcf_jax.web"))):
                    sys.modules.pop(name, None)
                message = self.fails(*arguments)
            self.assertRegex(message, rf"^cwcf: {module}\S* is not installed; pip install 'cwcf-jax\[{extra}\]'\n$")

    def test_help(self):
        self.assertIn("exit codes: 0 done", self.run_command("--help").stdout)
        for command in ("index", "search", "status", "remove", "export", "serve"):
            self.assertIn("examples:\n  cwcf " + command, self.run_command(command, "--help").stdout)


if __name__ == "__main__":
    absltest.main()
