"""Runs `weights/formats/hdf5_child.py` on many files, in a fork each, without starting Python anew for every one.

``python forks.py CHILD FILE...`` prints a JSON list per file: exit status (negative: signal), seconds, peak KiB and
output.
"""

import importlib.util
import json
import os
import signal
import sys
import time


def main():
    specification = importlib.util.spec_from_file_location("hdf5_child", sys.argv[1])
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
            child.limit()
            with os.fdopen(writing, "w", closefd=False) as stream:
                stream.write(child.answer(path))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            output = stream.read()
        _, status, usage = os.wait4(process, 0)
        seconds = time.monotonic() - started
        print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss, output]), flush=True)


if __name__ == "__main__":
    main()
