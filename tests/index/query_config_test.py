import dataclasses

from absl.testing import absltest, parameterized

from cwcf_jax.index import QueryConfig
from cwcf_jax.search.pipeline import SearchConfig


class QueryConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"aggregation": "average"}, "unknown aggregation 'average'; known: ofa, ona"),
        ({"rerank": -1}, "rerank is a number of pictures, not -1"),
        ({"expand": -2}, "expand is a number of pictures, not -2"),
        ({"online": -1}, "online is a number of pictures, not -1"),
        ({"reciprocal": -1}, "reciprocal is a number of pictures, not -1"),
        ({"aggregation": "ona", "online": 3}, "online changes nothing where all pictures are described by"),
        ({"classes": ("1",), "online": 3}, "leave out online, or both aggregation=ona and classes"),
    )
    def test_errors(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            QueryConfig(**fields)

    def test_thorough_equals_the_search_config(self):
        self.assertEqual(QueryConfig().search_config, SearchConfig.fast())
        search_config = SearchConfig.thorough()
        self.assertEqual(QueryConfig.thorough().search_config, search_config)
        self.assertEqual(QueryConfig.thorough(("3",)).search_config, dataclasses.replace(search_config, online=0))
        self.assertEqual(QueryConfig.thorough(rerank=0, aggregation="ofa"), QueryConfig.thorough())
        for name, value in (("rerank", 3), ("aggregation", "ona"), ("online", 3), ("expand", 1), ("reciprocal", 3)):
            with self.assertRaisesRegex(ValueError, f"a thorough search chooses {name} itself; leave out {name}"):
                QueryConfig.thorough(**{name: value})

    def test_by_query(self):
        self.assertEqual(
            [QueryConfig().by_query, QueryConfig("ona").by_query, QueryConfig(classes=("1",)).by_query],
            [False, True, True],
        )


if __name__ == "__main__":
    absltest.main()
