"""A folder that knows what its content depends on, and that one process at a time has open."""

import fcntl
import json
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

Store = TypeVar("Store", bound="StoreFolder")
BEGUN = ("lock", "fingerprint.partial")


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
        header = json.loads(json.dumps(fingerprint))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "fingerprint.json"
        if not file.exists() and any(path.name not in BEGUN for path in self.folder.iterdir()):
            raise StaleStoreError(f"{self.folder} is not empty and not a store; name another folder")
        self._lock: int | None = lock(self.folder)
        try:
            if file.exists():
                _compare_file(file, header)
            else:  # first: a kill before leaves nothing else, a kill after leaves a store without content
                partial = file.with_suffix(".partial")
                partial.write_text(json.dumps(header, indent=1) + "\n")
                partial.replace(file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets other processes have it; twice does no harm."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self: Store) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock(folder: pathlib.Path) -> int:
    """A file that is closed to let other processes have the folder; `StoreBusyError` while one has it."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise StoreBusyError(f"{folder} is in use by another process; wait for it or name another folder") from error
    return file


def _compare_file(file: pathlib.Path, header: Mapping[str, Any]) -> None:
    try:
        stored = json.loads(file.read_text())
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise StaleStoreError(f"{file} cannot be read ({error}); remove {file.parent} to make it anew") from error
    compare(str(file.parent), stored, header)


def compare(name: str, stored: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """StaleStoreError with every difference between what a store depends on and what it should."""
    differing = [key for key in sorted(stored.keys() | header.keys()) if stored.get(key) != header.get(key)]
    if differing:
        reasons = "\n  ".join(
            f"{key}: {_brief(stored.get(key))} there, {_brief(header.get(key))} now" for key in differing
        )
        raise StaleStoreError(
            f"{name} was made under other conditions and is left alone:\n  {reasons}\n"
            "Remove it, or name another folder."
        )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
