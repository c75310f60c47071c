"""This package indexes a folder of photographs and searches the index with a picture or a region of a picture.

    index = Index.create("photographs", make_index_config("googlenet_bvlc.npz"))
    index.update()
    hits = index.search("church.jpg", box=(40, 10, 300, 420))

It needs the extra ``index``.
"""

from cwcf_jax.index.changes import Update
from cwcf_jax.index.explanation import ClassPair, Explanation, explain
from cwcf_jax.index.index import Index, Status, default_folder
from cwcf_jax.index.index_config import IndexConfig, make_index_config
from cwcf_jax.index.queries import PreparedQuery, QueryDescription
from cwcf_jax.index.query_config import AGGREGATIONS, QueryConfig
from cwcf_jax.index.reader import FOLDER_NAME
from cwcf_jax.index.search import Hit, Searcher
from cwcf_jax.index.table import LanceStore, Snapshot, TableEntry, TableStore
from cwcf_jax.index.updater import Progress

__all__ = [
    "AGGREGATIONS",
    "FOLDER_NAME",
    "ClassPair",
    "Explanation",
    "Hit",
    "Index",
    "IndexConfig",
    "LanceStore",
    "PreparedQuery",
    "Progress",
    "QueryConfig",
    "QueryDescription",
    "Searcher",
    "Snapshot",
    "Status",
    "TableEntry",
    "TableStore",
    "Update",
    "default_folder",
    "explain",
    "make_index_config",
]
