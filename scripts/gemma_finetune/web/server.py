"""A static web server for this machine alone."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gemma_finetune.utils.errors import UserError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    # Independent of the machine's table of types: browsers run neither under another type.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        # A model that was made again has the same name. Browsers must ask whether it changed.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each of some 50 files would hide the address."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a tab that is closed while it loads is no error."""


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of `folder`, for its caller to run and close. Port 0: any that is free.

    UserError if the port is taken or not allowed.
    """
    try:
        return _Server((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights"}
        if error.errno not in reasons:
            raise
        raise UserError(
            f"port {port} {reasons[error.errno]}: name another with --port, such as --port 8001"
        )


def address(server: ThreadingHTTPServer) -> str:
    return f"http://{HOST}:{server.server_port}/"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of `folder`, served by a thread until the block ends."""
    with open_server(folder, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield address(server)
        finally:
            server.shutdown()
            thread.join(timeout=60)
