"""What is refused in one line before any request is sent; help, version, missing extras."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import Run, environment, run_apart

import opwatch
from opwatch import services
from opwatch.cli.values import seconds
from opwatch.simulator import Simulator

SNAPSHOTS = Path(__file__).parent / "snapshots"
SERVICES = ", ".join(services.names())
COMMANDS = ["completion", "demo", "generate", "progress", "report", "simulate", "watch"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(run: Run, command: str) -> None:
    """The help of each command fits 80 columns and is the one checked in (tests/cli/snapshots)."""
    done = run(*([command] if command else []), "--help")
    name = f"opwatch-{command}.txt" if command else "opwatch.txt"
    assert done.out == (SNAPSHOTS / name).read_text("utf-8")
    assert max(map(len, done.lines)) <= 80
    assert (done.code, done.err) == (0, "")


def test_help_lists_every_command(run: Run) -> None:
    """Each command there is has a snapshot."""
    names = {path.stem.partition("-")[2] for path in SNAPSHOTS.glob("opwatch-*.txt")}
    assert names == set(COMMANDS)


def test_version(run: Run) -> None:
    """`--version` prints the version and nothing else."""
    assert run("--version").out == f"opwatch {opwatch.__version__}\n"


@pytest.mark.parametrize("word", ["--version", "--help", "watch --help", "completion zsh"])
def test_what_must_start_fast_loads_little(word: str) -> None:
    """Help, version and completion load no service, no HTTP client, no drawing and no attrs."""
    show = "import atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    done = run_apart(*word.split(), code=show)
    loaded = set(done.err.split())
    assert done.code == 0
    assert "click" in loaded
    assert loaded & {"httpx", "attr", "rich", "anyio", "asyncio", "opwatch.client"} == set()


# --- one line that says what would be right -------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "wach itwin j1",
            (
                "unknown command 'wach'; did you mean watch? The commands are "
                "completion, demo, generate, progress, report, simulate, watch; "
                "see 'opwatch --help'"
            ),
        ),
        (
            "watch itwn j1",
            (
                "unknown service 'itwn'; did you mean itwin or itwin-v2? The services "
                f"are {SERVICES}; see 'opwatch watch --help'"
            ),
        ),
        (
            "progress CATENIS:j1",
            (
                f"unknown service 'CATENIS'; did you mean catenis? The services are {SERVICES}; "
                "see 'opwatch progress --help'"
            ),
        ),
        ("watch zzz j1", f"unknown service 'zzz'; the services are {SERVICES}; see '{{}}'"),
        ("watch itwin", "missing job ID after 'itwin'; see '{}'"),
        (
            "watch",
            "no jobs given; pass SERVICE ID..., or --state FILE from an earlier run; see '{}'",
        ),
        ("watch itwin:j1 j2", "'j2' has no service; use SERVICE:j2; see '{}'"),
        (
            "watch itwin j1 apig:j2",
            (
                "'apig:j2' after 'itwin' mixes two forms; use SERVICE ID... or SERVICE:ID for "
                "every job; see '{}'"
            ),
        ),
        (
            "watch itwin a/b",
            r"the itwin job ID must not contain / \ % ? # or control characters: 'a/b'; see '{}'",
        ),
        (
            "watch itwin:",
            "the itwin job ID must not be empty, blank, '.' or '..': ''; see '{}'",
        ),
        (
            "watch itwin j1 --timeout 5x",
            (
                "Invalid value for '--timeout': '5x' is not a duration; use 90s, 15m, 2h, "
                "1h30m, 7d, 3600, or none for no limit; see '{}'"
            ),
        ),
        (
            "watch itwin j1 --stall-timeout -5",
            (
                "Invalid value for '--stall-timeout': '-5' is not a duration; use 90s, 15m, 2h, "
                "1h30m, 7d, 3600, or none for no limit; see '{}'"
            ),
        ),
        (
            "watch itwin j1 --schedule 5s,x",
            (
                "Invalid value for '--schedule': '5s,x' is not a list of durations like "
                "5s,10s,30s; see '{}'"
            ),
        ),
        (
            "watch itwin j1 --timeout 99999999999999h",
            (
                "Invalid value for '--timeout': '99999999999999h' is too long (maximum 3650d); "
                "see '{}'"
            ),
        ),
        (
            "watch itwin j1 --stall-timeout 3651d",
            "Invalid value for '--stall-timeout': '3651d' is too long (maximum 3650d); see '{}'",
        ),
        (
            "watch itwin j1 --schedule 5s,999ms",
            (
                "Invalid value for '--schedule': a delay in '5s,999ms' is too short "
                "(minimum 1s); see '{}'"
            ),
        ),
        (
            "watch itwin j1 --schedule 0s",
            ("Invalid value for '--schedule': a delay in '0s' is too short (minimum 1s); see '{}'"),
        ),
        (
            "watch itwin j1 --schedule 3651d",
            (
                "Invalid value for '--schedule': a delay in '3651d' is too long (maximum 3650d); "
                "see '{}'"
            ),
        ),
        (
            "watch itwin j1 --report -",
            "--report must be a file name, not '-'; see '{}'",
        ),
        (
            "watch itwin j1 --state -",
            "--state must be a file name, not '-'; see '{}'",
        ),
        (
            "watch itwin j1 --json --quiet",
            "--json and --quiet can't be used together; see '{}'",
        ),
        (
            "progress itwin j1 j2",
            "progress takes one job; use opwatch watch for several; see 'opwatch progress --help'",
        ),
    ],
)
def test_wrong_usage(run: Run, words: str, line: str) -> None:
    """Wrong usage exits with 2 and one line that says what was meant and what would be right."""
    done = run(*words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"opwatch: {line.format('opwatch watch --help')}\n"


@pytest.mark.parametrize(
    "words",
    [
        "watch itwin j1 --timout 5",
        "completion pwsh",
        "simulate --port none",
        "report",
        "report /no/such/events.jsonl",
        "report -",
        "progress --env-file /no/such/file itwin j1",
        "progress --env-file /dev/zero itwin j1",
        "watch itwin j1 --state /no/such/folder/state.json",
        "watch itwin j1 --state /dev/zero",
        "watch itwin j1 --state /dev",
        "watch itwin j1 --report /no/such/folder/wait.html",
    ],
)
def test_other_wrong_usage(run: Run, sim: Simulator, words: str) -> None:
    """Whatever is wrong is one line and exit code 2, and nothing is asked of a service."""
    done = run(*words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("opwatch: ")
    assert len(done.err.splitlines()) == 1
    assert sim.requests == []


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_no_credentials(run: Run, command: str) -> None:
    """Missing variables are named in one line."""
    done = run(command, "itwin", "j1")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "ITWIN_CLIENT_ID, ITWIN_CLIENT_SECRET" in done.err


def test_nothing_is_asked_where_one_of_several_cannot_be(run: Run, sim: Simulator) -> None:
    """Several jobs are checked before the first poll: if one ID is invalid, none is polled."""
    assert run("watch", "itwin", "j1", "..").code == 2
    assert sim.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("3600", 3600),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        (" 1H ", 3600),
        ("0.5h", 1800),
    ],
)
def test_durations(text: str, expected: float) -> None:
    """Durations are seconds, or numbers with units."""
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "5x", "-5", "+5", "1e3", "nan", "inf", "5 m", "1h30", "٣s", "9" * 400]
)
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(ValueError):
        seconds(text)


# --- what may be missing --------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["click", "rich"])
@pytest.mark.parametrize("word", ["--version", "demo"])
def test_without_the_extra(missing: str, word: str) -> None:
    """Without click or rich the command says in one line what to install, and exits with 2."""
    done = run_apart(word, code=f"sys.modules[{missing!r}] = None")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "opwatch: the command line needs the cli extra; "
        "run pip install 'opwatch[cli]' to install it\n"
    )


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_without_the_simulator(command: str) -> None:
    """Without the extra simulator, what needs it says in one line what to install."""
    done = run_apart(command, code="sys.modules['starlette'] = None")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("opwatch: the simulator needs more packages: pip install")
    assert len(done.err.splitlines()) == 1


def test_no_command_is_answered_with_the_help(run: Run) -> None:
    """As it reads with --help, and as a wrong usage."""
    bare, asked = run(), run("--help")
    assert (bare.code, bare.out, bare.err.strip()) == (2, "", asked.out.strip())


def test_importing_opwatch_loads_no_command_line() -> None:
    """`import opwatch`, and its bars, load neither click nor rich."""
    code = "import sys, opwatch, opwatch.bars; print({'click', 'rich'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), text=True, check=True
    )
    assert done.stdout == "set()\n"


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    """Each shell gets a script that asks `opwatch` for words."""
    done = run("completion", shell)
    assert done.code == 0
    assert f"_OPWATCH_COMPLETE={shell}_complete" in done.out


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        ("opwatch wa", 1, ["plain,watch"]),
        ("opwatch watch ", 2, [f"plain,{name}" for name in services.names()]),
        ("opwatch watch ca", 2, ["plain,catenis"]),
        ("opwatch watch itwin ap", 3, []),
    ],
)
def test_completed_words(words: str, at: int, expected: list[str]) -> None:
    """The shell is offered commands and services; an id only its owner knows."""
    asked = {"_OPWATCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    assert run_apart(env=asked).out.split() == expected
