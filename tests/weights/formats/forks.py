"""This program runs `weights/formats/hdf5.py` on many files, each in a fork, which saves the start of Python.

``python forks.py CHILD FILE...`` prints a JSON list for each file: exit status (negative: signal), seconds, peak KiB
and output.
"""

import importlib.util
import json
import os
import pathlib
import signal
import sys
import time


def main():
    spec = importlib.util.spec_from_file_location("hdf5", sys.argv[1])
    child = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(child)
    child.CPU_LIMIT_S = 1
    for path in sys.argv[2:]:
        started = time.monotonic()
        read_end, write_end = os.pipe()
        process_id = os.fork()
        if not process_id:
            os.close(read_end)
            signal.alarm(30)
            child.limit_resources(pathlib.Path(path).stat().st_size)
            with os.fdopen(write_end, "wb", closefd=False) as stream:
                child.write_answer(path, stream)
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as stream:
            output = stream.read().decode("latin-1")
        _, status, usage = os.wait4(process_id, 0)
        seconds = time.monotonic() - started
        print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss, output]), flush=True)


if __name__ == "__main__":
    main()
