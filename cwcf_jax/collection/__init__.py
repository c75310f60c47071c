"""A folder of photographs that can be searched: kept in step with the folder, searched by a region of a picture.

    index = Index.create("photographs", settings_for("googlenet_bvlc.npz"))
    index.update()
    hits = Searcher(index).search(read_image("church.jpg"), box=(40, 10, 300, 420))

Needs the extra ``index``.
"""

from cwcf_jax.collection.index import NAME, Index, Status
from cwcf_jax.collection.search import Described, Hit, Options, Searcher
from cwcf_jax.collection.settings import Settings, settings_for
from cwcf_jax.collection.table import Entry, LanceStore, Snapshot, Store
from cwcf_jax.collection.updating import Progress, Update

__all__ = [
    "NAME",
    "Described",
    "Entry",
    "Hit",
    "Index",
    "LanceStore",
    "Options",
    "Progress",
    "Searcher",
    "Settings",
    "Snapshot",
    "Status",
    "Store",
    "Update",
    "settings_for",
]
