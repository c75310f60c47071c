"""This module defines `Program`: a program in this folder, with its flags and the function that it runs."""

import dataclasses
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from absl.flags import FlagValues

flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class Program:
    """A `Program` can be started as ``python -m experiments.NAME`` or called within a process.

    Attributes:
        name: name of its module.
        define_flags: function that defines its flags.
        run: function that is called with the parsed flags and the arguments as they were typed.
    """

    name: str
    define_flags: Callable[[FlagValues], None]
    run: Callable[[FlagValues, Sequence[str]], None]

    def main(self) -> None:
        """Runs the program with the arguments of this process, and ends the process."""
        self.define_flags(flags.FLAGS)
        app.run(lambda argv: self._start(argv, flags.FLAGS, sys.argv[1:]))

    def call(self, *arguments: str) -> None:
        """Runs the program within this process.

        Raises:
            flags.Error: a flag is unknown or has a value that is not allowed.
            app.UsageError: an argument is not a flag.
            SystemExit: the program ends with a message or an exit code.
        """
        values = FlagValues()  # type: ignore[no-untyped-call]
        self.define_flags(values)
        self._start(values([self.name, *arguments]), values, arguments)

    def _start(self, argv: Sequence[str], values: FlagValues, arguments: Sequence[str]) -> None:
        """Refuses arguments that are not flags, and runs the program."""
        if len(argv) > 1:
            raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag=value")
        if "verbosity" not in values or not values["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # JAX and Orbax log much at INFO
        self.run(values, arguments)
