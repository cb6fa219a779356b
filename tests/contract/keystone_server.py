"""A real Keystone on loopback: `python keystone_server.py FOLDER`, in an environment that has it.

It keeps everything in FOLDER, prints the port it listens at, and serves until it is ended.
"""

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

PASSWORD = "a made-up password"
SETTINGS = """
[DEFAULT]
use_stderr = false
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/tokens
[fernet_receipts]
key_repository = {folder}/receipts
[credential]
key_repository = {folder}/credentials
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main(folder: Path) -> None:
    settings = folder / "keystone.conf"
    settings.write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    for name in ("tokens", "receipts", "credentials"):
        (folder / name).mkdir()
    manage(settings, "db_sync")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    manage(settings, "fernet_setup", "--keystone-user", user, "--keystone-group", group)
    manage(settings, "bootstrap", "--bootstrap-password", PASSWORD)
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(settings)
    from keystone.server.wsgi import initialize_public_application

    application = initialize_public_application()
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def manage(settings: Path, *words: str) -> None:
    program = Path(sys.executable).parent / "keystone-manage"
    subprocess.run([program, "--config-file", settings, *words], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv.pop()).resolve())  # Keystone reads the command line too
