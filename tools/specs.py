"""The command line of the specs: `python tools/specs.py validate|generate|check`.

`validate` checks specs/ (by spec_rules.py), `generate` writes generated/ (by spec_generation.py),
and `check` fails if generated/ is not what specs/ gives.
"""

import argparse
import sys

import spec_generation
import spec_rules
import yaml


def validate() -> int:
    """Name each rule that a spec breaks, and where."""
    specs = [spec_rules.read(path) for path in spec_generation.specs()]
    findings = [finding for spec in specs for finding in spec_rules.check(spec)]
    for finding in findings:
        print(finding, file=sys.stderr)
    return bool(findings)


def generate() -> int:
    """Write generated/."""
    spec_generation.write()
    return 0


def check() -> int:
    """Name each file of generated/ that is not what specs/ gives."""
    lines = spec_generation.drift()
    for line in lines:
        print(f"generated/: {line}", file=sys.stderr)
    if lines:
        print("generated/ is not what specs/ gives: make generate", file=sys.stderr)
    return bool(lines)


def main() -> int:
    """Run the command named on the command line; 0 is success."""
    commands = {"validate": validate, "generate": generate, "check": check}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=commands)
    try:
        return commands[parser.parse_args().command]()
    except (spec_generation.GenerationError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
