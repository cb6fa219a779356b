"""Compare opwatch with other clients in one run, and fail if anything is above its limit.

    run.py --peers PYTHON --core PYTHON [--quick] [--rounds N]

`--peers` is an interpreter with the other clients (requirements/bench.txt). `--core` is one with
opwatch and only what it requires; this one has the extra `cli` too. `--quick` skips what takes real
time (a connection idle for 130 s, and two runs of many jobs for a minute each) and writes nothing.

Contenders take turns within each round, so anything else the machine does affects all of them. A
figure is the median over the rounds, and a ratio the median of the rounds' ratios. Everything runs
on the first core, except for the servers of whatever takes real time, which have the last: waking
another core costs the sender CPU time that belongs to no client. The run prints its tables, writes
`results.json`, `docs/benchmarks.md` and `docs/cost.md`, and exits with 1 if anything is above its
limit.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cost
import units

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
COST = PAGE.with_name("cost.md")
RESULTS = HERE / "results.json"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class Ratio(NamedTuple):
    """A comparison. The limit is on the ratio."""

    what: str
    against: str
    figure: float
    """Seconds."""
    reference: float
    ratio: float
    limit: float | None

    @property
    def value(self) -> float:
        return self.ratio

    def cells(self) -> tuple[str, ...]:
        limit = "no limit" if self.limit is None else f"{self.limit:.2f}"
        figures = units.seconds(self.figure), units.seconds(self.reference)
        return (self.what, self.against, *figures, f"{self.ratio:.2f}", limit)


class Figure(NamedTuple):
    """A measurement that is compared with nothing but its limit."""

    what: str
    figure: float
    limit: float | None
    unit: str
    """`s`, `bytes`, or none for a count."""

    @property
    def value(self) -> float:
        return self.figure

    def cells(self) -> tuple[str, ...]:
        limit = "no limit" if self.limit is None else self._text(self.limit)
        return (self.what, self._text(self.figure), limit)

    def _text(self, value: float) -> str:
        if self.unit == "s":
            return units.seconds(value)
        return units.size(value) if self.unit == "bytes" else f"{value:.0f}"


Row = Ratio | Figure
Rounds = list[dict[str, float]]


def compare(
    rounds: Rounds, what: str, against: str, limit: float | None, names: dict[str, str]
) -> Ratio:
    """Return the row of two contenders that took turns."""
    return Ratio(
        names.get(what, what),
        names.get(against, against),
        statistics.median(line[what] for line in rounds),
        statistics.median(line[against] for line in rounds),
        statistics.median(line[what] / line[against] for line in rounds),
        limit,
    )


class Server:
    """`server.py` in a process of its own, which exits when its standard input ends."""

    def __init__(self, *options: str, beside: bool = False) -> None:
        core = ["--core", str(CORES[0 if beside else -1])] if CORES else []
        self._process = subprocess.Popen(
            [sys.executable, HERE / "server.py", *core, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Worker:
    """One contender, `worker.py`, in a process of its own."""

    def __init__(self, python: str, name: str, port: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python, HERE / "worker.py", name, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, calls: int) -> float:
        """Return the CPU seconds of one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


# --- one poll -------------------------------------------------------------------------------------

NAMES = {
    "http_client": "http.client",
    "httpx_client": "httpx",
    "httpx_catenis": "httpx",
    "httpx_apig": "httpx",
    "requests_session": "requests",
    "itwin": "iTwin, token",
    "catenis": "Catenis, CTN1 signature",
    "apig_token": "APIG, token",
    "apig_aksk": "APIG, AK/SK signature",
    "async_httpx": "httpx",
    "async_httpx_catenis": "httpx",
    "async_httpx_apig": "httpx",
    "async_itwin": "iTwin, token",
    "async_catenis": "Catenis, CTN1 signature",
    "async_apig_token": "APIG, token",
    "async_apig_aksk": "APIG, AK/SK signature",
}
POLLS = [
    ("itwin", "httpx_client", 0.40),
    ("apig_token", "httpx_apig", 0.40),
    ("catenis", "httpx_catenis", 0.50),
    ("apig_aksk", "httpx_apig", 0.50),
    ("apig_aksk", "huaweicloudsdkapig", 0.20),
    ("apig_token", "otcextensions", 0.15),
    ("itwin", "requests_session", None),
    ("itwin", "http_client", None),
]
ASYNC_POLLS = [
    ("async_itwin", "async_httpx", 0.35),
    ("async_apig_token", "async_httpx_apig", 0.35),
    ("async_catenis", "async_httpx_catenis", 0.45),
    ("async_apig_aksk", "async_httpx_apig", 0.45),
]
COLD_POLLS = [(name, against, None) for name, against, limit in POLLS if limit is not None]
WARM = (2, 100)
"""Turns of a contender in each round, and calls in each turn. A turn takes about 20 ms, so that a
noisy second affects all contenders."""
COLD = (50, 1)
"""The same for single calls, which follow the calls of all other contenders."""


def poll_rounds(peers: str, names: list[str], rounds: int, turns: int, calls: int) -> Rounds:
    with Server(beside=True) as server, ExitStack() as stack:
        workers = [stack.enter_context(Worker(peers, name, server.port)) for name in names]
        for worker in workers:
            worker.turn(50)
        lines: Rounds = []
        for n in range(rounds):
            line = dict.fromkeys(names, 0.0)
            for k in range(turns):
                first = (n + k) % len(workers)
                for worker in workers[first:] + workers[:first]:
                    line[worker.name] += worker.turn(calls) / turns
            lines.append(line)
    return lines


def poll_rows(
    peers: str,
    pairs: Sequence[tuple[str, str, float | None]],
    rounds: int,
    how: tuple[int, int] = WARM,
) -> tuple[list[Row], dict[str, float]]:
    """Return the rows, and the CPU seconds of each contender."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair[:2]))
    lines = poll_rounds(peers, names, rounds, *how)
    cpu = {name: statistics.median(line[name] for line in lines) for name in names}
    return [compare(lines, *pair, NAMES) for pair in pairs], cpu


# --- startup --------------------------------------------------------------------------------------


def scripts(name: str, url: str) -> dict[str, str]:
    return {
        f"httpx, {name}": textwrap.dedent(f"""
            import httpx
            with httpx.Client() as client:
                client.get("{url}/jobs/job/progress").json()
        """),
        f"opwatch, {name}": textwrap.dedent(f"""
            from opwatch import ITwin
            with ITwin("t", base_url="{url}") as client:
                client.progress("job")
        """),
    }


def start_rows(core: str, rounds: int, pair: str, trusted: str) -> list[Row]:
    """Time whole processes, with the bytecode of each module written, as an installer leaves it."""
    rows: list[Row] = []
    over_tls = {**os.environ, "SSL_CERT_FILE": trusted}
    for python, extra in ((core, "without `cli`"), (sys.executable, "with `cli`")):
        with Server() as plain, Server("--tls", pair) as tls:
            cases = {
                "python": "pass",
                "import httpx": "import httpx",
                "import opwatch": "import opwatch",
                **scripts("http", f"http://localhost:{plain.port}"),
                **scripts("https", f"https://localhost:{tls.port}"),
            }
            lines: Rounds = []
            for _ in range(rounds + 1):
                line = {}
                for name, code in cases.items():
                    environment = over_tls if name.endswith("https") else None
                    start = time.perf_counter()
                    subprocess.run([python, "-c", code], check=True, env=environment)
                    line[name] = time.perf_counter() - start
                base = line.pop("python")
                line["import httpx"] -= base
                line["import opwatch"] -= base
                lines.append(line)
        lines = lines[1:]
        names = {
            "import opwatch": f"`import opwatch`, {extra}",
            "import httpx": "`import httpx`",
            "opwatch, http": f"first response over http, {extra}",
            "httpx, http": "httpx",
            "opwatch, https": f"first response over https, {extra}",
            "httpx, https": "httpx",
        }
        rows += [
            compare(lines, "import opwatch", "import httpx", 0.15, names),
            compare(lines, "opwatch, http", "httpx, http", 0.85, names),
            compare(lines, "opwatch, https", "httpx, https", None, names),
        ]
    return rows


# --- without a network ----------------------------------------------------------------------------


def pure(python: str, case: str) -> Rounds:
    run = subprocess.run(
        [python, HERE / "pure.py", case], check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def part_rows(peers: str, request: float) -> list[Row]:
    """`request` is the CPU seconds of httpx's request for an iTwin job."""
    signing, machine = pure(peers, "signing"), pure(peers, "machine")
    own = statistics.median(line["watch_many"] - line["alone"] for line in pure(peers, "many"))
    names = {
        "ctn1": "CTN1 signature",
        "aksk": "AK/SK signature",
        "huaweicloudsdkcore": "AK/SK signature of huaweicloudsdkcore",
        "advance": "deciding what to do after a response",
        "json.loads": "`json.loads` of the response",
    }
    return [
        compare(signing, "ctn1", "huaweicloudsdkcore", 0.60, names),
        compare(signing, "aksk", "huaweicloudsdkcore", 0.70, names),
        compare(machine, "advance", "json.loads", 5.0, names),
        Ratio(
            "scheduling one of 10,000 jobs in `watch_many`",
            "a request of httpx",
            own,
            request,
            own / request,
            0.10,
        ),
    ]


# --- many jobs, on the real clock -----------------------------------------------------------------


def with_many(peers: str, jobs: int, delay: int, seconds: int) -> dict[str, float]:
    with Server() as server:
        numbers = map(str, (server.port, jobs, delay, seconds))
        run = subprocess.run(
            [peers, HERE / "many.py", *numbers], check=True, stdout=subprocess.PIPE, text=True
        )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def late_rows(jobs: int, delay: int, found: dict[str, float], limit: float | None) -> list[Row]:
    what = f"lateness, {jobs:,} jobs polled every {delay} s"
    return [
        Figure(f"{what}: 99th percentile", found["p99"], limit, "s"),
        Figure(f"{what}: median", found["median"], None, "s"),
    ]


# --- kept connections -----------------------------------------------------------------------------

TWO_POLLS = """
import ssl, sys, time, urllib.request
from opwatch import ITwin
port, trusted, seconds, drop = sys.argv[1:]
context = ssl.create_default_context(cafile=trusted)

def get(path):
    return urllib.request.urlopen(f"https://localhost:{port}/{path}", context=context).read()

with ITwin("t", base_url=f"https://localhost:{port}", ssl_context=context) as client:
    client.progress("job")
    others = 1
    if drop == "drop":
        get("drop")
        others += 1
    time.sleep(float(seconds))
    client.progress("job")
connections, requests, *_ = map(int, get("counts").split())
assert requests == 2, requests
print(connections - others)
"""


def connection_rows(peers: str, seconds: int, pair: str, trusted: str) -> list[Row]:
    def handshakes(pause: int, drop: str) -> float:
        with Server("--tls", pair) as server:
            command = [peers, "-c", TWO_POLLS, str(server.port), trusted, str(pause), drop]
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return float(run.stdout)

    idle = f"TLS handshakes for two polls {seconds} s apart"
    closed = "TLS handshakes for two polls if the server closes the connection in between"
    return [
        Figure(idle, handshakes(seconds, "keep"), 1, ""),
        Figure(closed, handshakes(1, "drop"), 2, ""),
    ]


# --- the results ----------------------------------------------------------------------------------

TEXT = """# Benchmarks

`make bench` compares opwatch with other clients, writes this page, and fails if anything is above
its limit.

opwatch runs with all its features: limits, authentication or signing, checks, and reading the
response into a `Progress`. The others only send the request and parse the JSON, except for the
two SDKs, which also authenticate and return a model.

The clients take turns within each round, so anything else on the machine affects all of
them. Each figure is the median over all rounds, and each ratio is the median of the rounds'
ratios. A ratio below 1 means that opwatch takes less time. The server responds immediately. While
the CPU time of a poll is measured, the server runs on the client's core, because waking another
core takes time that isn't the client's.

These figures are from {machine}.

## One poll

CPU time of one `progress` call, and of a GET request for the same response over plain http, in
turns of 100 calls.

{polls}

With the async clients, on asyncio:

{async_polls}

Polls are usually seconds apart, and other programs run in between. If each turn is a single call, a
client's code and data are no longer in the processor's caches, so all clients take longer:

{cold_polls}

## Startup

These tables show how long an import takes, and how long a process takes from its start to its first
response. `cli`
is the extra that installs click and rich, which `import httpx` loads if they are installed.

httpx creates a TLS context even for an http URL; opwatch doesn't. The https rows compare the same
work: both clients load the usual certificate authorities and perform a TLS handshake.

{startup}

## Parts of a poll

CPU time, without a network.

{parts}

## Many jobs

Memory is what `watch_many` uses for each of 10,000 jobs, including the job's last progress.
Lateness is the time between when a poll is due and when its request is sent, measured with
`AsyncITwin.watch_many` over about a minute of real time.

{many}

## Reused connections

Delays between polls can be two minutes long, so opwatch keeps idle connections open longer than
that.

{connections}

## Conclusion

A poll of an iTwin job takes {poll} of CPU time, so a job that is polled every 15 s takes {day} a
day. You reach the service's rate limit long before the limits of one core; see [what watching
costs](cost.md).
"""
RATIO_HEADER = ("opwatch", "compared with", "opwatch takes", "the other takes", "ratio", "limit")
FIGURE_HEADER = ("measurement", "result", "limit")


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    header = RATIO_HEADER if isinstance(rows[0], Ratio) else FIGURE_HEADER
    return [header, *(row.cells() for row in rows)]


def markdown(rows: list[Row]) -> str:
    header, *body = cells(rows)
    lines = [header, ("---",) * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def printed(rows: list[Row]) -> str:
    table = [[cell.replace("`", "") for cell in line] for line in cells(rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (map(str.ljust, line, widths) for line in table)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def traffic(peers: str) -> dict[str, float]:
    """Return the bytes of a poll in both directions, without TLS, by contender."""
    found = {}
    for name in cost.CONTENDERS.values():
        with Server() as server:
            with Worker(peers, name, server.port) as worker:
                worker.turn(100)
            url = f"http://127.0.0.1:{server.port}/counts"
            with urllib.request.urlopen(url) as answer:
                _, requests, received, sent = map(int, answer.read().split())
        found[name] = (received + sent) / requests
    return found


def write(tables: dict[str, list[Row]], figures: cost.Figures) -> None:
    machine = f"CPython {platform.python_version()} on {platform.system()} {platform.machine()}"
    found = {
        "machine": machine,
        "tables": {name: [row._asdict() for row in rows] for name, rows in tables.items()},
        "cost": figures._asdict(),
    }
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    poll = figures.cpu["itwin"]
    PAGE.write_text(
        TEXT.format(
            machine=machine,
            poll=units.seconds(poll),
            day=units.seconds(poll * 86_400 / 15),
            **{name: markdown(rows) for name, rows in tables.items()},
        )
    )
    COST.write_text(cost.page(figures))


CERTIFICATES = """
import sys, certifi, pathlib, trustme
trusted, pair = map(pathlib.Path, sys.argv[1:])
authority = trustme.CA()
trusted.write_bytes(pathlib.Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pair)
"""
UNWANTED = {"pythondontwritebytecode", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile"}
UNWANTED |= {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def same_conditions() -> None:
    """Remove from the environment what makes imports, TLS contexts or requests slower."""
    for name in [name for name in os.environ if name.lower() in UNWANTED]:
        del os.environ[name]
    if CORES:
        os.sched_setaffinity(0, {CORES[0]})  # and with it every process but the server


def measure(
    peers: str, core: str, rounds: int, *, quick: bool
) -> tuple[dict[str, list[Row]], cost.Figures | None]:
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trusted, pair = f"{folder}/trusted.pem", f"{folder}/pair.pem"
        subprocess.run([peers, "-c", CERTIFICATES, trusted, pair], check=True)
        tables["polls"], cpu = poll_rows(peers, POLLS, rounds)
        tables["async_polls"], _ = poll_rows(peers, ASYNC_POLLS, rounds)
        tables["cold_polls"], _ = poll_rows(peers, COLD_POLLS, rounds, COLD)
        tables["startup"] = start_rows(core, rounds, pair, trusted)
        tables["parts"] = part_rows(peers, cpu["httpx_client"])
        memory = pure(peers, "memory")[0]["bytes"]
        tables["many"] = [Figure("memory for each job", memory, 4096, "bytes")]
        if quick:
            return tables, None
        thousand, ten_thousand = with_many(peers, 1000, 15, 65), with_many(peers, 10_000, 20, 60)
        tables["many"] += late_rows(1000, 15, thousand, 0.020)
        tables["many"] += late_rows(10_000, 20, ten_thousand, None)
        tables["connections"] = connection_rows(peers, 130, pair, trusted)
    own = {name: cpu[name] for name in cost.CONTENDERS.values()}
    return tables, cost.Figures(own, traffic(peers), ten_thousand["cpu"], memory)


def above_limit(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.limit is not None and row.value > row.limit]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", required=True)
    parser.add_argument("--core", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()

    same_conditions()
    tables, figures = measure(given.peers, given.core, given.rounds, quick=given.quick)
    for rows in tables.values():
        print(printed(rows), end="\n\n")
    if figures is not None:
        write(tables, figures)
    missed = {name: above_limit(rows) for name, rows in tables.items()}
    if any(missed.values()):
        print("Above the limit:")
        for name, rows in missed.items():
            print(*(f"  {name}: {', '.join(row.cells())}\n" for row in rows), sep="", end="")
        sys.exit(1)


if __name__ == "__main__":
    main()
