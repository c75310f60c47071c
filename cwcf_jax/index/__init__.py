"""A folder of photographs that can be searched: kept in step with the folder, searched by a region of a picture.

    index = Index.create("photographs", settings_for("googlenet_bvlc.npz"))
    index.update()
    hits = index.search("church.jpg", box=(40, 10, 300, 420))

Needs the extra ``index``.
"""

from cwcf_jax.index.changes import Update
from cwcf_jax.index.explanation import Explanation, Pair, explain
from cwcf_jax.index.index import Index, Status, default_folder
from cwcf_jax.index.options import AGGREGATIONS, Options
from cwcf_jax.index.queries import Described, Prepared
from cwcf_jax.index.reader import NAME
from cwcf_jax.index.search import Hit, Searcher
from cwcf_jax.index.settings import Settings, settings_for
from cwcf_jax.index.table import Entry, LanceStore, Snapshot, Store
from cwcf_jax.index.updater import Progress

__all__ = [
    "AGGREGATIONS",
    "NAME",
    "Described",
    "Entry",
    "Explanation",
    "Hit",
    "Index",
    "LanceStore",
    "Options",
    "Pair",
    "Prepared",
    "Progress",
    "Searcher",
    "Settings",
    "Snapshot",
    "Status",
    "Store",
    "Update",
    "default_folder",
    "explain",
    "settings_for",
]
