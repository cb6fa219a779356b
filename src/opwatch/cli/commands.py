"""The commands and their options: what `opwatch --help` shows, and nothing of what they do.

Each command imports what it needs when it runs, so that help, version and completion load neither
a service nor an HTTP client.
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
    2: "wrong usage or configuration, or the output cannot be written",
    3: "ended, and the service does not say how",
    4: "credentials refused",
    5: "the service does not know the job",
    6: "trouble with the service or the network",
    124: "timed out or stalled",
    130: "interrupted",
}


def _exit_codes(*but: int) -> str:
    lines = [f"  {code:3}  {means}" for code, means in _EXIT_CODES.items() if code not in but]
    return "\n".join(["\b", "Exit codes:", *lines])


class _Commands(click.Group):
    """A group that says what was meant by a command it does not know."""

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
    """Watch long-running operations of Catenis, iTwin and APIG."""


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
    help="Set the variables of FILE first: NAME=value lines, # comments.",
)
_verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Log each request to standard error: never a credential."
)
_no_color = click.option("--no-color", is_flag=True, help="No colors; also with NO_COLOR set.")


_spec = click.option(
    "--spec",
    type=_FILE,
    metavar="SPEC",
    help="The jobs are those of an OpenAPI document with an x-wait block; give their IDs alone. "
    "Needs the extra generate.",
)


@opwatch.command(epilog=_exit_codes(exits.TIMED_OUT))
@click.argument("jobs", nargs=-1, required=True, shell_complete=complete, metavar="SERVICE ID")
@_options(
    click.option(
        "--json", "as_json", is_flag=True, help="Print the answer, or the error, as a line of JSON."
    ),
    _spec,
    _env_file,
    _verbose,
)
def progress(jobs: tuple[str, ...], **options: Any) -> int:
    """Ask once how far a job is.

    Prints where the job stands. A job that is still running exits with 0, as one that succeeded.
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
        help="Longest wait: 90s, 15m, 2h, 7d, 3600 or none. One last query is made then; a query "
        "that is under way is waited for, at most 30 s.",
    ),
    click.option(
        "--stall-timeout",
        callback=duration,
        metavar="DURATION",
        default="none",
        show_default=True,
        help="Longest time that a job may stand still.",
    ),
    click.option(
        "--schedule",
        callback=delays,
        metavar="DELAYS",
        help="Least time between queries, instead of the service's own: 5s,10s,30s. None is below "
        "1s.",
    ),
    click.option(
        "--state",
        type=_FILE,
        metavar="FILE",
        help="Keep in FILE where each wait stands; another run with FILE continues there, by the "
        "schedule and the limits it began with.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print each event as a line of JSON; not with --quiet.",
    ),
    click.option(
        "-q", "--quiet", is_flag=True, help="Print only what went wrong; not with --json."
    ),
    _spec,
    click.option("--report", type=_FILE, metavar="FILE", help="Write a page with the timeline."),
    _env_file,
    _no_color,
    _verbose,
)
def watch(jobs: tuple[str, ...], **options: Any) -> int:
    """Watch jobs until they are over.

    \b
      opwatch watch itwin ID ID         several jobs of one service
      opwatch watch itwin:ID apig:ID    jobs of several services
      opwatch watch --state FILE        the jobs of a state file

    Draws bars on a terminal and prints a line for each change anywhere else. Stopping never
    stops a job. Of several jobs, the exit code is the first of 130 2 1 5 4 6 124 3 that any
    of them came to; 0 means that all succeeded.
    """
    from opwatch.cli.run import run

    return run(jobs, given=_given("timeout", "stall_timeout", "schedule"), **options)


def _given(*names: str) -> list[str]:
    """Those of the options that stand on the command line, as they are written there."""
    context = click.get_current_context()
    options = {param.name: param.opts[0] for param in context.command.params}
    told = ParameterSource.COMMANDLINE
    return [options[name] for name in names if context.get_parameter_source(name) is told]


@opwatch.command()
@click.argument("spec", type=_FILE, metavar="SPEC")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the package is written: a new folder, or one that it was written to before.",
)
@click.option("--name", metavar="NAME", help="What the service is called. Default: SPEC's name.")
def generate(spec: Path, out: Path, name: str | None) -> int:
    """Make a package that watches what an OpenAPI document describes.

    \b
      opwatch generate press.yaml --out press
      pip install ./press
      opwatch watch press ID

    SPEC is YAML or JSON, and says how to wait in an x-wait block. Needs the extra
    generate.
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
    help="Default: EVENTS with the ending .html. - is standard output.",
)
def report(events: Path, output: Path | None) -> int:
    """Make a page of what `opwatch watch --json` printed.

    The page holds the timeline of each job and needs no other file. EVENTS may be - for
    standard input; then --output must be given.
    """
    from opwatch.cli.report import write

    return write(events, output)


@opwatch.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="0 is any free port.",
)
def simulate(port: int) -> int:
    """Run the three services on this machine, until Ctrl-C.

    Prints the variables that let opwatch talk to them, and jobs to watch. Each
    job plays once, from its first query on, and then stays as it ended; begin
    again to see it again.
    """
    from opwatch.cli.simulating import simulate

    return simulate(port)


@opwatch.command()
@_no_color
def demo(no_color: bool) -> int:
    """Watch one simulated job of each service to its end.

    Needs no account, and no network but this machine. Exits with 0 when each job ended as its
    script says: Catenis succeeded, iTwin succeeded after a rate limit, APIG failed.
    """
    from opwatch.cli.simulating import demo

    return demo(no_color=no_color)


@opwatch.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes words in a shell.

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
