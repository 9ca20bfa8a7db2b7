"""A process that answers probes over HTTP and misbehaves on request: `fake_process.py PORT [MODE]`."""

from __future__ import annotations

import http.server
import signal
import sys
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """200 to everything; /livez fails for ever once the file `hang` exists."""

    def do_GET(self) -> None:
        code = 503 if self.path == "/livez" and Path("hang").exists() else 200
        self.send_response(code)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def main() -> None:
    mode = sys.argv[2] if len(sys.argv) > 2 else ""
    if mode == "refuse":
        print("fake: rows.csv: no column close", file=sys.stderr)
        raise SystemExit(2)
    if mode == "abort":
        print("Failed listening on port 1")
        raise SystemExit(1)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if mode == "sleep":
        time.sleep(3600)
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


main()
