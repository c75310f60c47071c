import contextlib
import io
import json
import pathlib
import sys
from unittest import mock

from absl.testing import absltest

from benchmarks import compare


def spread(median):
    return {"median": median, "min": median / 2, "max": median * 2}


def results(seconds, rate, ratio=1.0):
    rows = [
        {"queries": queries, "seconds": {"ours": spread(seconds * queries)}, "faiss_per_ours": spread(ratio)}
        for queries in (1, 256)
    ]
    return {"what": "toy", "rows": rows, "rates": {"encoding": spread(rate)}, "unmeasured": 3}


class CompareTest(absltest.TestCase):
    def test_a_tenth_may_be_lost(self):
        compared, losses = compare.compare(results(1.0, 100.0), results(1.11, 90.1))
        self.assertEqual((compared, losses), (5, []))

    def test_gains_are_no_losses(self):
        self.assertEmpty(compare.compare(results(1.0, 100.0), results(0.1, 1000.0, 9.0))[1])

    def test_losses_are_named(self):
        _, losses = compare.compare(results(1.0, 100.0, 2.0), results(1.12, 89.0, 1.7))
        self.assertLen(losses, 5)
        self.assertEqual(losses[0], "/rows/{'queries': 1}/seconds/ours: 1 before, 1.12 now")
        self.assertEqual(losses[-1], "/rates/encoding: 100 before, 89 now")

    def test_rows_are_found_by_their_settings(self):
        new = results(1.0, 100.0)
        new["rows"].reverse()
        self.assertEqual(compare.compare(results(1.0, 100.0), new), (5, []))

    def test_every_committed_file_has_figures_that_compare_with_themselves(self):
        files = sorted(compare.RESULTS.glob("*.json"))
        self.assertGreater(len(files), 10)
        for file in files:
            content = json.loads(file.read_text())
            compared, losses = compare.compare(content, content)
            self.assertEmpty(losses)
            if file.stem != "serving_cpu":  # holds percentiles of requests instead of medians
                self.assertGreater(compared, 0, file)

    def test_program(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "old.json").write_text(json.dumps(results(1.0, 100.0)))
        (folder / "same.json").write_text(json.dumps(results(1.0, 100.0)))
        (folder / "worse.json").write_text(json.dumps(results(1.0, 50.0)))
        (folder / "other.json").write_text("{}")
        for name, code, text in (
            ("same", 0, "5 figures compared with"),
            ("worse", 1, "/rates/encoding: 100 before, 50 now"),
        ):
            self.assertEqual(self.run_main(folder / f"{name}.json", folder / "old.json"), (code, mock.ANY))
            self.assertIn(text, self.run_main(folder / f"{name}.json", folder / "old.json")[1])
        self.assertIn("no figure in common", str(self.run_main(folder / "other.json", folder / "old.json")[0]))
        self.assertIn("No such file", str(self.run_main(folder / "missing.json", folder / "old.json")[0]))

    def run_main(self, *arguments):
        out = io.StringIO()
        argv = ["compare", *map(str, arguments)]
        with (
            mock.patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(out),
            self.assertRaises(SystemExit) as exited,
        ):
            compare.main()
        return exited.exception.code, out.getvalue()


if __name__ == "__main__":
    absltest.main()
