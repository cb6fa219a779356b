"""The entry point of the `opwatch` command.

Turns an error, an interrupt or a closed pipe into one line on standard error and an exit code. The
commands themselves are in `commands`. Imports are deferred until they are needed, so `--version`
and `--help` cost little more than importing click.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context
from importlib.util import find_spec

from opwatch import exits
from opwatch.cli.signals import Interrupt, current, handled
from opwatch.cli.streams import OutputLost, guarded

_MISSING = "the command line needs the cli extra; run pip install 'opwatch[cli]' to install it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `opwatch` with these arguments, by default those of the process; return the exit code.

    Without arguments, the process should exit afterwards: until then, the handlers of signals
    remain, since Python's own would replace the exit code.
    """
    with handled(until_exit=argv is None) as interrupt, guarded():
        try:
            interrupt.raises()
            code = copy_context().run(_main, argv, interrupt)  # its context variables end with it
            interrupt.only_notes()
        except KeyboardInterrupt:
            complain("interrupted")
            return exits.INTERRUPTED
        return code


def _main(argv: Sequence[str] | None, interrupt: Interrupt) -> int:
    current.set(interrupt)
    if find_spec("click") is None or find_spec("rich") is None:
        complain(_MISSING)
        return exits.USAGE
    try:
        code = _run(argv)
        sys.stdout.flush()
    except OutputLost as lost:
        if lost.nobody_reads or interrupt.came:  # when a terminal hangs up, output is lost, too
            return exits.INTERRUPTED
        complain(str(lost))
        return exits.USAGE
    except Exception:  # noqa: BLE001 (Python would exit with 1, as if the job had failed)
        import traceback

        traceback.print_exc()
        return exits.USAGE
    return code


def complain(message: str, *more: str) -> None:
    """Write a message to standard error, each part as one printable line."""
    from opwatch.text import printable

    lines = "\n".join(printable(line, 10_000) for line in (message, *more))
    with suppress(OutputLost):  # bars show standard error above them
        print(f"opwatch: {lines}", file=sys.stderr, flush=True)


def _run(argv: Sequence[str] | None) -> int:
    import click

    from opwatch.cli.commands import opwatch

    try:
        code = opwatch.main(argv, "opwatch", standalone_mode=False)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # new in click 8.2
            click.echo(error.format_message(), err=True)
        else:
            complain(_usage(error))
        return exits.USAGE
    except click.ClickException as error:
        complain(error.format_message(), *getattr(error, "more", ()))
        return exits.USAGE
    except click.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        from opwatch.errors import OpwatchError  # here, since it costs more than all of --version

        if not isinstance(error, OpwatchError):
            raise
        complain(_one_line(error))
        return exits.of_error(error).code
    return code if isinstance(code, int) else exits.SUCCEEDED


def _usage(error: object) -> str:
    """Return a usage error as one line, with the help to read."""
    import click

    assert isinstance(error, click.UsageError)
    message = " ".join(error.format_message().split())
    if message.endswith(".") and not message.endswith("..."):
        message = message[:-1]
    path = error.ctx.command_path if error.ctx is not None else "opwatch"
    return f"{message}; see '{path} --help'"


def _one_line(error: Exception) -> str:
    from opwatch.text import printable

    return printable(str(error), 1000)
