"""A Ray cluster, as what runs on it sees it."""

import dataclasses
import logging
import socket
import warnings
from typing import Any

import ray

ANSWER = 10.0
"""Seconds until an address counts as one where nobody is."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a cluster computes on: GPUs, or where it has none, nodes; how many, and what an actor needs for one."""

    count: int
    gpus: int
    cpus: int


def join(address: str) -> Devices:
    """Joins a cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; ``local`` starts one on this machine.

    Raises:
        ConnectionError: there is none at the address.
    """
    if not ray.is_initialized():
        _check_answers(address)
        with warnings.catch_warnings():  # LanceDB's, of forks; Ray's programs are other processes at once
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if gpus := int(resources.get("GPU", 0)):
        return Devices(gpus, gpus=1, cpus=0)
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return Devices(len([one for one in cpus if one]), gpus=0, cpus=min(one for one in cpus if one))


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster answers at {address} ({error}); start one with ray start") from error
