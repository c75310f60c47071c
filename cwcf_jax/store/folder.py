"""This module opens folders that record what their content depends on, for one process at a time."""

import contextlib
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from cwcf_jax import files

Store = TypeVar("Store", bound="StoreFolder")
HEADER = "fingerprint.json"


class StaleStoreError(ValueError):
    """Raised when a store was written with other weights, settings or files; the message names them."""


class StoreBusyError(RuntimeError):
    """Raised when another process has the store open."""


class StoreFolder:
    """A `StoreFolder` is a folder with ``fingerprint.json`` and a lock; subclasses add the other files."""

    def __init__(self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any]) -> None:
        """Opens the store in ``folder``, or starts a new one.

        Args:
            folder: folder of the store, created with its parents if missing.
            fingerprint: fingerprint of the content; any JSON object.

        Raises:
            StaleStoreError: the folder holds a store with another fingerprint, or other files.
            StoreBusyError: another process has the store open.
        """
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        header = self.folder / HEADER
        files.refuse_unknown_files(header, StaleStoreError)
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.lock(self.folder / files.LOCK, self.folder, StoreBusyError))
            files.claim(header, fingerprint, StaleStoreError)
            self._lock = stack.pop_all()

    def close(self) -> None:
        """Releases the store for other processes; a second call does nothing."""
        self._lock.close()

    def __enter__(self: Store) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
