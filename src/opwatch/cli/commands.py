"""The commands and their options, as `opwatch --help` shows them.

Each command imports what it needs when it runs, so help, version and completion load neither a
service nor an HTTP client.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from opwatch import exits
from opwatch._version import __version__
from opwatch.cli.values import complete, delays, duration, unknown

_EXIT_CODES = {
    0: "succeeded",
    1: "failed or cancelled",
    2: "invalid usage or configuration, or the output can't be written",
    3: "ended, but the service doesn't say how",
    4: "credentials refused",
    5: "the service doesn't know the job, or the address is wrong",
    6: "service or network error",
    124: "timed out or stalled",
    130: "interrupted",
}


def _exit_codes(*but: int) -> str:
    lines = [f"  {code:3}  {means}" for code, means in _EXIT_CODES.items() if code not in but]
    return "\n".join(["\b", "Exit codes:", *lines])


class _Commands(click.Group):
    """A group that suggests similar names for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(unknown("command", name, self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Credentials come from environment variables or --env-file, never from arguments.",
)
@click.version_option(__version__, message="opwatch %(version)s")
def opwatch() -> None:
    """Watch long-running operations of Catenis, iTwin, APIG and other services."""


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_FILE = click.Path(dir_okay=False, path_type=Path)
_env_file = click.option(
    "--env-file",
    type=_FILE,
    metavar="FILE",
    help="Set environment variables from FILE: NAME=value lines, # comments.",
)
_verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Log each request to standard error, without credentials."
)
_no_color = click.option(
    "--no-color", is_flag=True, help="Don't use colors, as if NO_COLOR were set."
)


_spec = click.option(
    "--spec",
    type=_FILE,
    metavar="SPEC",
    help="Use the service described in SPEC, an OpenAPI document with an x-wait block; pass only "
    "job IDs. Requires the generate extra.",
)


@opwatch.command(epilog=_exit_codes(exits.TIMED_OUT))
@click.argument("jobs", nargs=-1, required=True, shell_complete=complete, metavar="SERVICE ID")
@_options(
    click.option(
        "--json", "as_json", is_flag=True, help="Print the result or the error as one line of JSON."
    ),
    _spec,
    _env_file,
    _verbose,
)
def progress(jobs: tuple[str, ...], **options: Any) -> int:
    """Show a job's progress.

    Polls the service once. The exit code is 0 if the job is still running or has succeeded.
    """
    from opwatch.cli.asking import ask

    return ask(jobs, **options)


@opwatch.command(epilog=_exit_codes())
@click.argument("jobs", nargs=-1, shell_complete=complete, metavar="SERVICE ID...")
@_options(
    click.option(
        "--timeout",
        callback=duration,
        metavar="DURATION",
        default="none",
        show_default=True,
        help="Stop waiting after this long: 90s, 15m, 2h, 7d, 3600 or none. opwatch then polls one "
        "last time; a poll in progress can take up to 30 s more.",
    ),
    click.option(
        "--stall-timeout",
        callback=duration,
        metavar="DURATION",
        default="none",
        show_default=True,
        help="Fail if the job makes no progress for this long.",
    ),
    click.option(
        "--schedule",
        callback=delays,
        metavar="DELAYS",
        help="Minimum delays between polls, such as 5s,10s,30s, instead of the service's own. Each "
        "must be at least 1s.",
    ),
    click.option(
        "--state",
        type=_FILE,
        metavar="FILE",
        help="Save the state of each wait in FILE. Another run with FILE resumes the waits, with "
        "their original schedules and limits.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print each event as a line of JSON. Can't be used with --quiet.",
    ),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        help="Print only failures and errors. Can't be used with --json.",
    ),
    _spec,
    click.option(
        "--report", type=_FILE, metavar="FILE", help="Write an HTML report with timelines to FILE."
    ),
    _env_file,
    _no_color,
    _verbose,
)
def watch(jobs: tuple[str, ...], **options: Any) -> int:
    """Watch jobs until they finish.

    \b
      opwatch watch itwin ID ID         several jobs of one service
      opwatch watch itwin:ID apig:ID    jobs of several services
      opwatch watch --state FILE        the jobs in a state file

    Shows progress bars in a terminal; otherwise, prints a line for each change. Stopping
    opwatch doesn't stop the jobs. With several jobs, the exit code is the first of
    130 2 1 5 4 6 124 3 that applies to any of them; 0 means that all succeeded.
    """
    from opwatch.cli.run import run

    return run(jobs, given=_given("timeout", "stall_timeout", "schedule"), **options)


def _given(*names: str) -> list[str]:
    """Return which of the options were given on the command line, as `--option`."""
    context = click.get_current_context()
    options = {param.name: param.opts[0] for param in context.command.params}
    typed = ParameterSource.COMMANDLINE
    return [options[name] for name in names if context.get_parameter_source(name) is typed]


@opwatch.command()
@click.argument("spec", type=_FILE, metavar="SPEC")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Write the package to DIR: a new folder, or one with an earlier version of the package.",
)
@click.option("--name", metavar="NAME", help="Name of the service. Default: SPEC's file name.")
def generate(spec: Path, out: Path, name: str | None) -> int:
    """Generate a package that watches a service's jobs.

    \b
      opwatch generate press.yaml --out press
      pip install ./press
      opwatch watch press ID

    SPEC is the service's OpenAPI document, a YAML or JSON file with an x-wait block that
    says how to wait. Requires the generate extra.
    """
    from opwatch.cli.generating import command

    return command.generate(spec, out, name)


@opwatch.command()
@click.argument("events", type=click.Path(allow_dash=True, path_type=Path), metavar="EVENTS")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write to FILE. Default: EVENTS with the extension .html. Use - for standard output.",
)
def report(events: Path, output: Path | None) -> int:
    """Make an HTML report from the output of `opwatch watch --json`.

    The report is a single file with a timeline of each job. EVENTS can be - for standard
    input; --output is then required.
    """
    from opwatch.cli.report import write

    return write(events, output)


@opwatch.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="0 picks a free port.",
)
def simulate(port: int) -> int:
    """Simulate the services on this machine until Ctrl-C.

    Prints the environment variables that connect opwatch to the simulator, and
    a command that watches its demo jobs. Each job starts at its first poll and
    runs once; to run it again, restart the simulator.
    """
    from opwatch.cli.simulating import simulate

    return simulate(port)


@opwatch.command()
@_no_color
def demo(no_color: bool) -> int:
    """Watch one simulated job of each service until it finishes.

    Needs no account and no network. Exits with 0 if each job ends as scripted: Catenis
    succeeds, iTwin succeeds after a rate limit, iTwin v2 is cancelled, and APIG fails.
    """
    from opwatch.cli.simulating import demo

    return demo(no_color=no_color)


@opwatch.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script for a shell.

    \b
      bash    eval "$(opwatch completion bash)"
      zsh     eval "$(opwatch completion zsh)"
      fish    opwatch completion fish | source
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "opwatch", "_OPWATCH_COMPLETE").source())
    return exits.SUCCEEDED
