"""Runs of GitHub Actions, watched with nothing but examples/specs/github-actions.yaml."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opwatch import Phase
from opwatch.cli import main
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    JobCancelled,
    JobFailed,
    JobGone,
    PermissionDenied,
    RateLimited,
)
from opwatch.net.message import Request
from opwatch.progress import Fault
from opwatch.testing import FakeClock, Reply, Script, reply

SPEC = Path(__file__).resolve().parents[2] / "examples" / "specs" / "github-actions.yaml"
RUN = "octo-org/octo-repo/30433642"
TARGET = "/repos/octo-org/octo-repo/actions/runs/30433642"
EPOCH = 1_800_000_000


@pytest.fixture
def github(package_of: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for variable in ("GITHUB_TOKEN", "GITHUB_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    return package_of("github-actions")


def run(status: str | None, conclusion: str | None = None, **more: Any) -> Reply:
    return reply(200, {"id": 30433642, "status": status, "conclusion": conclusion, **more})


LIMITED = reply(
    403,
    {"message": "API rate limit exceeded for 203.0.113.7."},
    {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(EPOCH + 1800)},
)


def test_a_rate_limit_by_403_is_a_pause(github: ModuleType) -> None:
    """The next request is sent when the limit resets, and nothing has failed."""
    replies = {TARGET: [LIMITED, run("completed", "success")]}
    with FakeClock(epoch=EPOCH), Script(replies) as script:
        assert github.GithubActions().wait(RUN, timeout=3600).phase is Phase.SUCCEEDED
    assert [sent.time for sent in script.sent] == [0, 1800]


def test_a_rate_limit_by_403_is_called_one(github: ModuleType) -> None:
    """The error is worded by what it is, not by its status."""
    with FakeClock(epoch=EPOCH), Script({TARGET: [LIMITED]}), pytest.raises(RateLimited) as caught:
        github.GithubActions().progress(RUN)
    assert caught.value.message.startswith("too many requests")
    assert "permit" not in str(caught.value)


def test_a_used_up_limit_is_known_before_it_refuses(github: ModuleType) -> None:
    """A good response that says that no request is left holds back those of every run."""
    last = reply(200, {"id": 1, "status": "in_progress"}, dict(LIMITED.headers))
    done = reply(200, {"id": 1, "status": "completed", "conclusion": "success"})
    replies = {"/a/b/actions/runs/1": [last, done], TARGET: [run("completed", "success")]}
    with FakeClock(epoch=EPOCH), Script(replies) as script:
        client = github.GithubActions()
        ends = {
            progress.job_id: progress.phase
            for progress in client.watch_many(["a/b/1", RUN], timeout=3600)
        }
    assert ends == {"a/b/1": Phase.SUCCEEDED, RUN: Phase.SUCCEEDED}
    assert [sent.time for sent in script.sent] == [0, 1800, 1800]


def test_a_secondary_rate_limit_is_told_by_its_message(github: ModuleType) -> None:
    """It has no header; opwatch backs off by itself."""
    secondary = reply(403, {"message": "You have exceeded a secondary rate limit."})
    with FakeClock(), Script({TARGET: [secondary, run("completed", "success")]}) as script:
        assert github.GithubActions().wait(RUN, timeout=3600).phase is Phase.SUCCEEDED
    assert len(script.sent) == 2


def test_a_run_is_watched_to_its_end(github: ModuleType) -> None:
    """A change of the status starts the schedule again; the times are those of the run."""
    times = {"run_started_at": "2026-01-01T10:00:00Z", "updated_at": "2026-01-01T10:05:00Z"}
    replies = [
        run("queued"),
        run("queued"),
        run("in_progress"),
        run("completed", "success", **times),
    ]
    with FakeClock(), Script({TARGET: replies}) as script:
        seen = [*github.GithubActions().watch(RUN, timeout=None)]
    assert [sent.time for sent in script.sent] == [0, 10, 30, 40]
    assert [(one.phase.value, one.step) for one in seen] == [
        ("pending", "queued"),
        ("pending", "queued"),
        ("running", "in_progress"),
        ("succeeded", "completed"),
    ]
    assert seen[-1].finished_at is not None
    assert (seen[-1].finished_at - seen[-1].started_at).total_seconds() == 300
    assert seen[-1].wire.conclusion == "success"


@pytest.mark.parametrize(
    ("status", "conclusion", "phase"),
    [
        ("requested", None, Phase.PENDING),
        ("waiting", None, Phase.PENDING),
        ("pending", None, Phase.PENDING),
        ("in_progress", None, Phase.RUNNING),
        ("completed", "skipped", Phase.ENDED),
        ("completed", "action_required", Phase.ENDED),
        ("completed", "a newer one", Phase.ENDED),
        ("completed", None, Phase.ENDED),
        ("a newer one", None, Phase.UNKNOWN),
        ("a newer one", "success", Phase.UNKNOWN),
        (None, None, Phase.UNKNOWN),
    ],
)
def test_a_conclusion_counts_once_the_run_is_completed(
    github: ModuleType, status: str | None, conclusion: str | None, phase: Phase
) -> None:
    """What is neither a success nor a failure has ended; nothing is guessed."""
    with Script({TARGET: [run(status, conclusion)]}):
        assert github.GithubActions().progress(RUN).phase is phase


def test_a_run_that_was_cancelled(github: ModuleType) -> None:
    """It has not failed."""
    with Script({TARGET: [run("completed", "cancelled")]}), pytest.raises(JobCancelled):
        github.GithubActions().wait(RUN, timeout=None)


@pytest.mark.parametrize("conclusion", ["failure", "timed_out", "startup_failure"])
def test_a_run_that_failed(github: ModuleType, conclusion: str) -> None:
    """Its conclusion is the code of the fault."""
    with Script({TARGET: [run("completed", conclusion)]}), pytest.raises(JobFailed) as caught:
        github.GithubActions().wait(RUN, timeout=None)
    assert caught.value.fault == Fault(conclusion, None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(404, {"message": "Not Found", "status": "404"}), JobGone),
        (reply(401, {"message": "Bad credentials"}), AuthenticationError),
        (reply(403, {"message": "Must have admin rights."}), PermissionDenied),
        (reply(403, {}, {"x-ratelimit-remaining": "4999"}), PermissionDenied),
        (reply(200, {"id": 1, "status": "completed", "conclusion": "success"}), BadResponse),
    ],
)
def test_what_is_no_answer(github: ModuleType, answer: Reply, error: type[Exception]) -> None:
    """A 403 is only a rate limit if it says so; a response about another run is none."""
    with Script({TARGET: [answer]}), pytest.raises(error) as caught:
        github.GithubActions().progress(RUN)
    assert type(caught.value) is error


def test_a_token_is_optional(github: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """GITHUB_TOKEN is sent if it is set; the version of the API always is."""
    requests: list[dict[str, str]] = []

    def answer(request: Request) -> Reply:
        requests.append(dict(request.headers))
        return run("queued")

    with Script(answer):
        github.GithubActions.from_env().progress(RUN)
        monkeypatch.setenv("GITHUB_TOKEN", "a-token")
        github.GithubActions.from_env().progress(RUN)
    assert [sent.get("Authorization") for sent in requests] == [None, "Bearer a-token"]
    assert {sent["X-GitHub-Api-Version"] for sent in requests} == {"2022-11-28"}
    assert {sent["Accept"] for sent in requests} == {"application/vnd.github+json"}


@pytest.mark.parametrize("job_id", ["30433642", "octo-org/octo-repo", f"{RUN}/jobs", "a//1"])
def test_an_id_has_three_parts(github: ModuleType, job_id: str) -> None:
    """Any other is refused before a request is sent."""
    with Script({}) as script, pytest.raises(ConfigurationError, match="owner/repo/run_id"):
        github.GithubActions().progress(job_id)
    assert not script.sent


def test_the_command_watches_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its ID is written with slashes; a rate limit is no failure of the command either."""
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    replies = {TARGET: [run("queued"), LIMITED, run("completed", "failure")]}
    with FakeClock(epoch=EPOCH), Script(replies) as script:
        code = main(["watch", "--spec", str(SPEC), RUN])
    assert code == 1
    assert [sent.time for sent in script.sent] == [0, 10, 1800]
    assert f"github-actions {RUN} failed" in capsys.readouterr().out
