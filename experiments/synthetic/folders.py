"""This module renders pictures over processes into a folder, which appears only when it is complete."""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

RECORD_FILE = "synthetic.json"
VERSION = 1
"""The version of the renderer. Increase it with every change that alters a picture: older folders are then refused."""

Progress = Callable[[int], object]
"""A function that is called with the number of pictures finished since its last call."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def is_finished(folder: pathlib.Path, parameters: dict[str, Any]) -> bool:
    """Returns whether the folder already holds the pictures of exactly these parameters.

    Raises:
        ValueError: The folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record_path = folder / RECORD_FILE
    advice = "remove it or choose another folder"
    if not record_path.is_file():
        raise ValueError(f"{folder}: is there already and was not rendered by `render_landmarks`; {advice}")
    try:
        rendered = json.loads(record_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{record_path}: cannot be read ({error}); {advice}") from error
    requested = _record(parameters)
    if rendered != requested:
        raise ValueError(f"{folder}: was rendered as {rendered}, not as {requested}; {advice}")
    return True


def publish(draft: pathlib.Path, folder: pathlib.Path, parameters: dict[str, Any]) -> None:
    """Adds the record to a finished draft and renames the draft to the folder."""
    (draft / RECORD_FILE).write_text(json.dumps(_record(parameters), indent=1) + "\n", encoding="utf-8")
    if folder.is_dir():
        folder.rmdir()  # `is_finished` has refused any folder that is not empty
    draft.replace(folder)


def open_draft(folder: pathlib.Path) -> pathlib.Path:
    """Makes an empty hidden folder beside the folder; a draft of the same process number is removed first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{os.getpid()}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def discard_draft(draft: pathlib.Path) -> None:
    """Removes an unfinished draft; does nothing if the draft has been published."""
    shutil.rmtree(draft, ignore_errors=True)


def map_over_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, chunk: int = 1
) -> Iterator[Result]:
    """Yields the results of ``work`` on every task in order.

    With one worker, or if no processes can be started, this process does the work.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    num_done = 0
    if workers > 1 and len(tasks) > 1:
        try:
            for result in _map_over_new_processes(work, tasks, workers, chunk):
                yield result
                num_done += 1
        except (OSError, ImportError, concurrent.futures.BrokenExecutor):
            if num_done == len(tasks):
                raise
    for task in tasks[num_done:]:
        yield work(task)


def _map_over_new_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, chunk: int
) -> Iterator[Result]:
    """Yields the results of ``work`` on every task in order, from new processes."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(work, tasks, chunksize=chunk)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _record(parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of the record file."""
    return {"version": VERSION} | parameters
