"""The command line of the specs: `python tools/specs.py validate|generate|check`.

`validate` checks specs/ (spec_rules.py), `generate` writes generated/ (spec_generation.py), and
`check` fails if generated/ doesn't match specs/. The last two validate first.
"""

import argparse
import sys

import spec_generation
import spec_rules

from opwatch.cli.generating import yaml_rules


def validate() -> bool:
    """Print each rule that a spec breaks, and where."""
    findings = spec_rules.check_all(spec_generation.SPECS)
    for finding in findings:
        print(finding, file=sys.stderr)
    return bool(findings)


def report() -> bool:
    """Print that `validate` found nothing."""
    print(f"{len(spec_generation.specs())} specs: no findings")
    return False


def generate() -> bool:
    """Write generated/."""
    for line in spec_generation.write():
        print(f"generated/: {line}")
    return False


def check() -> bool:
    """Print each file of generated/ that doesn't match specs/."""
    lines = spec_generation.drift()
    for line in lines:
        print(f"generated/: {line}", file=sys.stderr)
    if lines:
        lost = ", ".join(spec_generation.lost())
        fix = f"restore the spec of {lost}, or delete the files generated from it" if lost else ""
        fix = fix or "run `make generate`"
        print(f"generated/ doesn't match specs/: {fix}", file=sys.stderr)
    return bool(lines)


def main() -> int:
    """Run the given command; return 0 for success."""
    commands = {"validate": report, "generate": generate, "check": check}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=commands)
    command = commands[parser.parse_args().command]
    try:
        return validate() or command()
    except (spec_generation.GenerationError, yaml_rules.Unreadable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
