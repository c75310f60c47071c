"""Uploaded queries in bounded memory."""

from unittest import mock

from absl.testing import absltest

from cwcf_jax.index import PreparedQuery
from cwcf_jax.web.uploaded import UploadedQueries


def query(nbytes):
    return mock.Mock(spec=PreparedQuery, nbytes=nbytes)


class UploadedQueriesTest(absltest.TestCase):
    def test_least_recently_used_make_room(self):
        queries, first, second = UploadedQueries(10), query(4), query(4)
        queries.put("first", first)
        queries.put("second", second)
        self.assertIs(queries.get("first"), first)
        queries.put("third", query(4))
        self.assertIsNone(queries.get("second"))
        self.assertIs(queries.get("first"), first)

    def test_the_last_is_kept_whatever_its_size(self):
        queries, large = UploadedQueries(10), query(99)
        queries.put("small", query(1))
        queries.put("large", large)
        self.assertIs(queries.get("large"), large)
        self.assertIsNone(queries.get("small"))

    def test_a_second_upload_replaces_the_first(self):
        queries, again = UploadedQueries(10), query(6)
        queries.put("name", query(8))
        queries.put("name", again)
        queries.put("other", query(4))
        self.assertIs(queries.get("name"), again)


if __name__ == "__main__":
    absltest.main()
