"""A folder that knows what its content depends on, and that one process at a time has open."""

import contextlib
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from cwcf_jax import files

Store = TypeVar("Store", bound="StoreFolder")
HEADER = "fingerprint.json"


class StaleStoreError(ValueError):
    """A store that was made with other weights, settings or files; the message says which."""


class StoreBusyError(RuntimeError):
    """A store that another process is writing."""


class StoreFolder:
    """``fingerprint.json`` and a lock; what else is in the folder is up to the store."""

    def __init__(self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any]) -> None:
        """Opens the store in ``folder``, or begins it.

        Args:
            folder: made with its parents if missing.
            fingerprint: what the content depends on; anything JSON can hold.

        Raises:
            StaleStoreError: the folder holds a store with another fingerprint, or something else.
            StoreBusyError: another process has it open.
        """
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        header = self.folder / HEADER
        files.refuse_strangers(header, StaleStoreError)
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.lock(self.folder / files.LOCK, self.folder, StoreBusyError))
            files.claim(header, fingerprint, StaleStoreError)
            self._open = stack.pop_all()

    def close(self) -> None:
        """Lets other processes have it; twice does no harm."""
        self._open.close()

    def __enter__(self: Store) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
