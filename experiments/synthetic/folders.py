"""Rendering into a folder: over processes, all or nothing, once."""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

RECORD = "synthetic.json"
VERSION = 1
"""To be counted up by every change of code that changes a picture: older folders are then refused."""

Progress = Callable[[int], object]
"""Called with how many more pictures are finished."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def is_finished(folder: pathlib.Path, parameters: dict[str, Any]) -> bool:
    """Whether the folder already holds exactly this set.

    Raises:
        ValueError: it holds something else; the message says what to do.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / RECORD
    advice = "remove it or choose another folder"
    if not record.is_file():
        raise ValueError(f"{folder}: is there already and was not rendered by this function; {advice}")
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{record}: cannot be read ({error}); {advice}") from error
    wanted = _record(parameters)
    if found != wanted:
        raise ValueError(f"{folder}: was rendered as {found}, not as {wanted}; {advice}")
    return True


def publish(draft: pathlib.Path, folder: pathlib.Path, parameters: dict[str, Any]) -> None:
    """Turns the finished draft into the folder."""
    (draft / RECORD).write_text(json.dumps(_record(parameters), indent=1) + "\n", encoding="utf-8")
    if folder.is_dir():
        folder.rmdir()  # empty, or `is_finished` would have spoken
    draft.replace(folder)


def open_draft(folder: pathlib.Path) -> pathlib.Path:
    """An empty hidden sibling of the folder, where this process may write; what an earlier one left is cleared."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{os.getpid()}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def discard(draft: pathlib.Path) -> None:
    """Removes a draft that will not be finished; nothing where it has been published."""
    shutil.rmtree(draft, ignore_errors=True)


def over_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, chunk: int = 1
) -> Iterator[Result]:
    """``work`` of every task in order, in this process for one worker or where processes cannot be had."""
    if workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    done = 0
    if workers > 1 and len(tasks) > 1:
        try:
            for result in _spawned(work, tasks, workers, chunk):
                yield result
                done += 1
        except (OSError, ImportError, concurrent.futures.BrokenExecutor):
            if done == len(tasks):
                raise
    for task in tasks[done:]:
        yield work(task)


def _spawned(work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, chunk: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(work, tasks, chunksize=chunk)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _record(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION} | parameters
