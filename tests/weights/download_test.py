import hashlib
import select
import signal

from absl.testing import absltest, parameterized

from tests.weights.fetching import CONTENT, HALF, OTHER, FetchCase


class DownloadTest(FetchCase):
    def test_fetches_then_only_verifies(self):
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertEqual(error, "")  # no progress bar where there is no terminal
        out, _ = self.fetch()
        self.assertIn("already there", out)
        self.assert_fetched(out)
        self.assertEqual(self.server.requests, [(None, None)])

    def test_a_dropped_connection_goes_on_with_the_rest(self):
        self.server.stop_after = [HALF, 1000]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertEqual(
            self.server.requests,
            [(None, None), (f"bytes={HALF}-", '"one"'), (f"bytes={HALF + 1000}-", '"one"')],
        )
        self.assertEqual(self.server.sent, len(CONTENT))
        self.assertIn("trying again", error)

    def test_a_killed_process_goes_on_with_the_rest(self):
        code, *_ = self.killed_midway()
        self.assertEqual(code, -signal.SIGKILL)
        out, _ = self.fetch()
        self.assertIn(f"{HALF / 1e6:.1f} MB of it at hand", out)
        self.assert_fetched(out)
        self.assertEqual(self.server.requests[1:], [(f"bytes={HALF}-", '"one"')])
        self.assertEqual(self.server.sent, len(CONTENT))

    def test_control_c(self):
        code, _, error = self.killed_midway(signal.SIGINT)
        self.assertEqual(code, 1)
        self.assertIn("the same command goes on", error)
        self.assertNotIn("Traceback", error)
        self.assert_no_file("weights.h5.part", "weights.h5.part.json")
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.sent, len(CONTENT))

    def test_a_server_without_ranges_starts_again(self):
        self.server.ranges = False
        self.server.stop_after = [HALF]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("whole file again", error)
        self.assertLen(self.server.requests, 2)

    @parameterized.parameters(True, False)
    def test_content_that_changes_between_tries(self, if_range):
        self.killed_midway()
        self.server.content, self.server.etag, self.server.if_range = OTHER, '"two"', if_range
        self.write(hash=f"sha256:{hashlib.sha256(OTHER).hexdigest()}")
        self.fetch()
        self.assertEqual(self.final.read_bytes(), OTHER)

    @parameterized.parameters('W/"one"', None)
    def test_without_a_validator(self, etag):
        """The hash at the end makes going on safe; without one, nothing does."""
        self.server.etag = etag
        self.server.stop_after = [HALF, None, HALF]
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[1], (f"bytes={HALF}-", None))
        self.final.unlink()
        self.write(hash=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[2:], [(None, None), (None, None)])

    def test_another_address_starts_again(self):
        self.killed_midway()
        self.write(url=self.url.replace("weights.h5", "moved.h5"))
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[-1], (None, None))

    def test_a_complete_part_is_not_asked_for(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT)
        self.assert_fetched(self.fetch()[0])
        self.assertLen(self.server.requests, 1)

    def test_416_on_a_complete_part(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT)
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[1:], [(f"bytes={len(CONTENT)}-", '"one"')])

    def test_416_on_a_part_that_is_too_long(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT + b"more")
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[-1], (None, None))

    def test_unknown_length(self):
        self.server.length = False
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])

    def test_server_errors_pass(self):
        self.server.answers = [503, 429, 500]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("503", error)

    def test_redirects(self):
        self.server.answers, self.server.location = [302], self.url + "?signed"
        self.assert_fetched(self.fetch()[0])

    def test_two_at_once(self):
        self.server.hang_after = HALF
        first = self.start()
        self.wait_for_part(HALF)
        second = self.start()
        self.assertIn("waiting", second.stderr.readline())
        self.server.hang_after = None
        first.send_signal(signal.SIGKILL)  # the lock dies with its process
        first.communicate()
        self.assert_fetched(self.finish(second)[0])

    def test_the_lock_passes_to_one_only(self):
        """Who waited holds a lock on a file that is gone; who comes later must not lock another."""
        self.server.hang_after = 1000
        first = self.start()
        self.wait_for_part(1000)
        second = self.start()
        self.assertIn("waiting", second.stderr.readline())
        first.send_signal(signal.SIGINT)
        first.communicate()
        self.wait_for_part(2000)
        third = self.start()
        waits, _, _ = select.select([third.stderr], [], [], 10)
        self.server.hang_after = None
        second.kill()
        second.communicate()
        out, error = self.finish(third)
        self.assertTrue(waits, error)
        self.assertIn("waiting", error)
        self.assert_fetched(out)

    def test_three_at_once_fetch_once(self):
        processes = [self.start() for _ in range(3)]
        outputs = [self.finish(process)[0] for process in processes]
        self.assert_fetched(outputs[0])
        self.assertEqual(sum("saved" in out for out in outputs), 1)
        self.assertLen(self.server.requests, 1)


if __name__ == "__main__":
    absltest.main()
