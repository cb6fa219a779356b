"""Measure opwatch against its peers, side by side in one run, and write down the ratios.

    run.py --peers PYTHON --core PYTHON [--quick] [--rounds N]

`--peers` is an interpreter that has the peers (requirements/bench.txt), `--core` one that has
opwatch and nothing it does not need; this one has the extra `cli`. `--quick` leaves out what takes
five minutes of real time (a connection left idle for 130 s, 10,000 jobs for a minute), and writes
nothing.

Contenders take turns in each round, so that whatever else the machine does befalls all of them; a
figure is the median over the rounds, a ratio the median of the rounds' ratios. Client and server
run on different cores. Prints a table, writes `results.json`, `docs/benchmarks.md` and what follows
from them, `docs/cost.md`. Ends with 1 where a ratio is above its limit.
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
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cost

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
COST = PAGE.with_name("cost.md")
RESULTS = HERE / "results.json"


class Row(NamedTuple):
    """One comparison: `ratio` is `what` over `against`, `most` what it must not exceed."""

    case: str
    what: str
    against: str
    ratio: float
    most: float | None
    unit: str
    figure: float
    reference: float


class Server:
    """`server.py` in a process of its own, ended with its standard input."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "server.py", *arguments],
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

    def round(self, calls: int) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


Rounds = list[dict[str, float]]


def compare(case: str, rounds: Rounds, what: str, against: str, most: float | None) -> Row:
    """The row of two contenders that took turns."""
    figure = statistics.median(line[what] for line in rounds)
    reference = statistics.median(line[against] for line in rounds)
    ratio = statistics.median(line[what] / line[against] for line in rounds)
    return Row(case, what, against, ratio, most, "µs", figure * 1e6, reference * 1e6)


# --- a progress call ------------------------------------------------------------------------------

CALL = "one progress call, CPU"
TURNS = 10
"""Times that a contender has its turn in a round."""
BLOCKING = ["http_client", "httpx_client", "httpx_catenis", "httpx_apig", "requests_session"]
BLOCKING += ["itwin", "catenis"]
BLOCKING += ["apig_token", "apig_aksk", "huaweicloudsdkapig", "otcextensions"]
ASYNC = ["async_httpx", "async_httpx_catenis", "async_httpx_apig"]
ASYNC += ["async_itwin", "async_catenis", "async_apig_aksk"]
BARE = {
    "itwin": "httpx_client",
    "catenis": "httpx_catenis",
    "apig_token": "httpx_apig",
    "apig_aksk": "httpx_apig",
    "async_itwin": "async_httpx",
    "async_catenis": "async_httpx_catenis",
    "async_apig_aksk": "async_httpx_apig",
}
"""What bare httpx asks for instead."""


def calls(peers: str, names: list[str], rounds: int, measure: str) -> Rounds:
    with Server() as server, ExitStack() as stack:
        workers = [stack.enter_context(Worker(peers, name, server.port)) for name in names]
        for worker in workers:
            worker.round(50)
        lines: Rounds = []
        for n in range(rounds):
            line = dict.fromkeys(names, 0.0)
            for k in range(TURNS):  # short ones: a noisy second then befalls all of them
                first = (n + k) % len(workers)
                for worker in workers[first:] + workers[:first]:
                    line[worker.name] += worker.round(200 // TURNS)[measure] / TURNS
            lines.append(line)
    return lines


def call_rows(peers: str, rounds: int) -> list[Row]:
    lines = calls(peers, BLOCKING, rounds, "cpu")
    case = CALL
    own = [name for name in BLOCKING if name in BARE]
    rows = [compare(case, lines, what, BARE[what], 0.80) for what in own]
    rows += [
        compare(case, lines, "apig_aksk", "huaweicloudsdkapig", 0.35),
        compare(case, lines, "apig_token", "otcextensions", 0.15),
        compare(case, lines, "itwin", "requests_session", None),
        compare(case, lines, "itwin", "http_client", None),
    ]
    lines = calls(peers, ASYNC, rounds, "cpu")
    case = "one async progress call, CPU"
    own = [name for name in ASYNC if name in BARE]
    return rows + [compare(case, lines, what, BARE[what], 0.80) for what in own]


# --- starting -------------------------------------------------------------------------------------


def scripts(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    return {
        "python": "pass",
        "import httpx": "import httpx",
        "import opwatch": "import opwatch",
        "httpx, first answer": textwrap.dedent(f"""
            import httpx
            with httpx.Client() as client:
                client.get("{url}/jobs/job/progress").json()
        """),
        "opwatch, first answer": textwrap.dedent(f"""
            from opwatch import ITwin
            with ITwin("t", base_url="{url}") as client:
                client.progress("job")
        """),
    }


def start_rows(core: str, rounds: int) -> list[Row]:
    """With the bytecode of each module written, as an installer leaves it."""
    written = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    rows = []
    for python, extra in ((core, "without cli"), (sys.executable, "with cli")):
        with Server() as server:
            lines: Rounds = []
            for _ in range(rounds + 1):
                line = {}
                for name, code in scripts(server.port).items():
                    begin = time.perf_counter()
                    subprocess.run([python, "-c", code], check=True, env=written)
                    line[name] = time.perf_counter() - begin
                base = line.pop("python")
                line["import httpx"] -= base
                line["import opwatch"] -= base
                lines.append(line)
        lines = lines[1:]
        rows += [
            compare(f"import, {extra}", lines, "import opwatch", "import httpx", 0.5),
            compare(
                f"process start to first answer, {extra}",
                lines,
                "opwatch, first answer",
                "httpx, first answer",
                1.15,
            ),
        ]
    return rows


# --- without a network ----------------------------------------------------------------------------


def pure(python: str, case: str) -> Rounds:
    run = subprocess.run(
        [python, HERE / "pure.py", case], check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def pure_rows(peers: str, poll: float) -> list[Row]:
    signing, machine, many = pure(peers, "signing"), pure(peers, "machine"), pure(peers, "many")
    memory = pure(peers, "memory")[0]["bytes"]
    own = statistics.median(line["watch_many"] - line["alone"] for line in many)
    return [
        compare("signing", signing, "ctn1", "huaweicloudsdkcore", 0.6),
        compare("signing", signing, "aksk", "huaweicloudsdkcore", 0.7),
        compare("the machine", machine, "advance", "json.loads", 5.0),
        Row(
            "10,000 jobs: scheduling a poll",
            "watch_many",
            "the poll it schedules",
            own / poll,
            0.10,
            "µs",
            own * 1e6,
            poll * 1e6,
        ),
        Row(
            "10,000 jobs: memory a job",
            "watch_many",
            "4 KiB",
            memory / 4096,
            1.0,
            "bytes",
            memory,
            4096,
        ),
    ]


# --- a poll after a long idle time ----------------------------------------------------------------

IDLE = """
import ssl, sys, time, urllib.request
from opwatch import ITwin
port, authority, seconds, drop = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)

def ask(path):
    return urllib.request.urlopen(f"https://localhost:{port}/{path}", context=context).read()

with ITwin("t", base_url=f"https://localhost:{port}", ssl_context=context) as client:
    client.progress("job")
    asked = 1
    if drop == "drop":
        ask("drop")
        asked += 1
    time.sleep(float(seconds))
    client.progress("job")
print(int(ask("counts").split()[0]) - asked)  # without the connections that ask
"""


def idle_rows(peers: str, seconds: int) -> list[Row]:
    make = "import sys, trustme; a = trustme.CA(); "
    make += "a.cert_pem.write_to_path(sys.argv[1]); "
    make += "a.issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(sys.argv[2])"
    with tempfile.TemporaryDirectory() as folder:
        authority, pair = f"{folder}/authority.pem", f"{folder}/pair.pem"
        subprocess.run([peers, "-c", make, authority, pair], check=True)

        def handshakes(pause: float, drop: str) -> float:
            with Server("--tls", pair) as server:
                command = [peers, "-c", IDLE, str(server.port), authority, str(pause), drop]
                run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            return float(run.stdout)

        kept, dropped = handshakes(seconds, "keep"), handshakes(1, "drop")
    return [
        Row(
            f"two polls, {seconds} s apart, over TLS", "handshakes", "one", kept, 1.0, "", kept, 1.0
        ),
        Row(
            "two polls, the kept connection closed by the server between them",
            "handshakes",
            "two",
            dropped / 2,
            1.0,
            "",
            dropped,
            2.0,
        ),
    ]


# --- 10,000 jobs with the real clock --------------------------------------------------------------


def with_many(peers: str, kind: str, seconds: int) -> dict[str, float]:
    with Server() as server:
        command = [peers, HERE / "many.py", str(server.port), kind, str(seconds)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def late_rows(many: dict[str, dict[str, float]]) -> list[Row]:
    rows = []
    for kind, found in many.items():
        for name, word in (("median", "median"), ("p99", "99th percentile")):
            rows.append(
                Row(
                    f"10,000 jobs, {kind}: lateness of a query",
                    word,
                    "the 20 s between two",
                    found[name] / 20.0,
                    None,
                    "ms",
                    found[name] * 1e3,
                    20e3,
                )
            )
    return rows


# --- the results ----------------------------------------------------------------------------------

PAGE_TEXT = """# Benchmarks

Measured by `make bench`, all contenders side by side in one run: they take turns in each round,
client and server run on different cores, a figure is the median of the rounds and a ratio the
median of their ratios. A ratio is the first contender's cost over the second's: below 1 is cheaper.
Absolute figures are those of the machine the run was made on.

Machine: {machine}.

{table}

`itwin`, `catenis`, `apig_token` and `apig_aksk` are opwatch's clients with everything on: limits,
authentication or signing, reading into a `Progress`. `httpx_client` and
its like are `httpx.Client.get(…).json()` of the same answer, with none of that.
"""
HEADER = ("case", "what", "against", "ratio", "at most", "figure", "reference")


def cells(row: Row) -> tuple[str, ...]:
    most = "" if row.most is None else f"{row.most:g}"
    figures = (f"{value:,.4g} {row.unit}".strip() for value in (row.figure, row.reference))
    return (row.case, row.what, row.against, f"{row.ratio:.2f}", most, *figures)


def page(rows: list[Row], machine: str) -> str:
    """The results as a page of the documentation."""
    table = [
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    return PAGE_TEXT.format(machine=machine, table="\n".join(table))


def traffic(peers: str) -> dict[str, float]:
    """The bytes of a query over the wire, both ways and without TLS, by service."""
    found = {}
    for name, service in (("catenis", "Catenis"), ("itwin", "iTwin"), ("apig_aksk", "APIG")):
        with Server() as server:
            with Worker(peers, name, server.port) as worker:
                worker.round(100)
            url = f"http://127.0.0.1:{server.port}/counts"
            with urllib.request.urlopen(url) as answer:
                _, requests, received, sent = map(int, answer.read().split())
        found[service] = (received + sent) / requests
    return found


def write(peers: str, rows: list[Row], many: dict[str, dict[str, float]]) -> None:
    machine = f"{platform.machine()}, {platform.system()}, CPython {platform.python_version()}"
    cpu = {row.what: row.figure / 1e6 for row in rows if row.case == CALL}
    figures = {
        service: {"cpu": cpu[name], "bytes": size}
        for (service, size), name in zip(
            traffic(peers).items(), ("catenis", "itwin", "apig_aksk"), strict=True
        )
    }
    memory = next(row.figure for row in rows if row.unit == "bytes")
    figures["many"] = {"cpu": many["sync"]["cpu"], "memory": memory}
    found = {"machine": machine, "rows": [row._asdict() for row in rows], "cost": figures}
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(rows, machine))
    COST.write_text(cost.page(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--core", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()

    rows = call_rows(given.peers, given.rounds)
    rows += start_rows(given.core, given.rounds)
    rows += pure_rows(given.peers, rows[0].figure / 1e6)
    many = {}
    if not given.quick:
        many = {kind: with_many(given.peers, kind, 60) for kind in ("sync", "async")}
        rows += late_rows(many)
        rows += idle_rows(given.peers, 130)

    for row in rows:
        print("{:46} {:22} / {:22} {:>6} {:>5} {:>14} {:>14}".format(*cells(row)))
    if not given.quick:
        write(given.peers, rows, many)
    missed = [row for row in rows if row.most is not None and row.ratio > row.most]
    for row in missed:
        print(f"above its limit: {row.case}: {row.what} / {row.against} = {row.ratio:.2f}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
