"""Runs `weights/formats/hdf5.py` on many files, in a fork each, without starting Python anew for every one.

``python forks.py CHILD FILE...`` prints a JSON list per file: exit status (negative: signal), seconds, peak KiB and
output.
"""

import importlib.util
import json
import os
import pathlib
import signal
import sys
import time


def main():
    specification = importlib.util.spec_from_file_location("hdf5", sys.argv[1])
    child = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(child)
    child.SECONDS = 1
    for path in sys.argv[2:]:
        started = time.monotonic()
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.close(reading)
            signal.alarm(30)
            child.limit(pathlib.Path(path).stat().st_size)
            with os.fdopen(writing, "wb", closefd=False) as stream:
                child.answer(path, stream)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            output = stream.read().decode("latin-1")
        _, status, usage = os.wait4(process, 0)
        seconds = time.monotonic() - started
        print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss, output]), flush=True)


if __name__ == "__main__":
    main()
