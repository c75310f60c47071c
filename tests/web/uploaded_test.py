"""These tests store uploaded queries in a fixed amount of memory."""

from unittest import mock

from absl.testing import absltest

from cwcf_jax.index import PreparedQuery
from cwcf_jax.web.uploaded import UploadedQueries


def query(nbytes):
    return mock.Mock(spec=PreparedQuery, nbytes=nbytes)


class UploadedQueriesTest(absltest.TestCase):
    def test_the_least_recently_used_query_is_dropped(self):
        queries, first, second = UploadedQueries(10), query(4), query(4)
        queries.put("first", first)
        queries.put("second", second)
        self.assertIs(queries.get("first"), first)
        queries.put("third", query(4))
        self.assertIsNone(queries.get("second"))
        self.assertIs(queries.get("first"), first)

    def test_the_latest_query_is_stored_whatever_its_size(self):
        queries, large = UploadedQueries(10), query(99)
        queries.put("small", query(1))
        queries.put("large", large)
        self.assertIs(queries.get("large"), large)
        self.assertIsNone(queries.get("small"))

    def test_a_second_upload_replaces_the_first(self):
        queries, second = UploadedQueries(10), query(6)
        queries.put("name", query(8))
        queries.put("name", second)
        queries.put("other", query(4))
        self.assertIs(queries.get("name"), second)


if __name__ == "__main__":
    absltest.main()
