"""Compile requirements/*.in to *.txt: exact versions with hashes, for every platform, no address.

Existing pins are kept; `python tools/lock.py --upgrade` uses the newest versions. dev.txt
constrains the other files, because most of them are installed into one environment.
"""

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
UV = [sys.executable, "-m", "uv", "--quiet", "--no-config", "pip", "compile"]
OPTIONS = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
OPTIONS += ["--no-emit-find-links", "--no-header", "--no-annotate"]
UNCONSTRAINED = ("dev", "outside")
"""openapi-core requires older validators than ours and has its own environment."""


def main() -> None:
    """Compile dev.in first, then the others."""
    for source in sorted(REQUIREMENTS.glob("*.in"), key=lambda path: path.stem != "dev"):
        constraints = [] if source.stem in UNCONSTRAINED else ["--constraint", "dev.txt"]
        files = [source.name, "--output-file", f"{source.stem}.txt"]
        command = [*UV, *OPTIONS, *constraints, *sys.argv[1:], *files]
        subprocess.run(command, cwd=REQUIREMENTS, check=True)


if __name__ == "__main__":
    main()
