"""Serves the explorer's page to browsers on this machine, and nothing to anybody else."""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image
from torch import Tensor

from latentpath.data.pixels import to_uint8
from latentpath.errors import UserError
from latentpath.explore.explorer import Choice, Edit, Explorer
from latentpath.explore.uploads import KINDS
from latentpath.runs.files import Json

HOST = "127.0.0.1"
FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
SMALLEST_SIDE = 256  # pixels: smaller pictures are enlarged by a whole factor
LARGEST = 64 * 2**20  # bytes of an upload
GAIN = 3  # the difference is shown this much brighter
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def build_server(explorer: Explorer, name: str, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the explorer of run `name`, bound to this machine alone; port 0 takes a free one.

    Raises UserError if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers requests of the page: its files, the facts of the run, edits, and uploads."""

        server_version, sys_version, timeout = "latentpath", "", 60

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._is_elsewhere():
                return
            if url.path in FILES:
                file = Path(__file__).parent / FILES[url.path]
                return self._send(HTTPStatus.OK, TYPES[file.suffix], file.read_bytes())
            if url.path == "/run":
                return self._send_json(lambda: facts(explorer, name))
            if url.path == "/edit":
                return self._send_json(lambda: shown(explorer.edit(choice(parse_qs(url.query)))))
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            if self._is_elsewhere():
                return
            if url.path != "/upload":
                return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")
            file = (parse_qs(url.query).get("name") or ["the image"])[0]
            self._send_json(lambda: {"upload": explorer.uploads.add(file, self._content())})

        def _content(self) -> bytes:
            """Read the body of the request. Raises UserError if it is empty or too large."""
            said = self.headers.get("Content-Length") or "0"
            length = int(said) if said.isdecimal() else 0
            if not 0 < length <= LARGEST:
                raise UserError(f"the image has {length:,} bytes, expected 1 to {LARGEST:,}")
            return self.rfile.read(length)

        def _is_elsewhere(self) -> bool:
            """Refuse a request that a page elsewhere makes, and say whether it did.

            Such a page may name this machine by another host (DNS rebinding), or send a form to it.
            """
            host = self.headers.get("Host") or ""
            ours = host.rsplit(":", 1)[0] in (HOST, "localhost")
            if ours and self.headers.get("Origin") in (None, f"http://{host}"):
                return False
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"only for browsers on this machine")
            return True

        def _send_json(self, answer: Callable[[], Json]) -> None:
            try:
                status, content = HTTPStatus.OK, answer()
            except UserError as error:
                status, content = HTTPStatus.BAD_REQUEST, {"error": str(error)}
            self._send(status, "application/json", json.dumps(content).encode())

        def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            self.send_response(status)
            for key, value in HEADERS.items():
                self.send_header(key, value)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Write no line per request."""

    class Server(ThreadingHTTPServer):
        """Keeps quiet about browsers that leave in the middle of a request."""

        def handle_error(self, request: Any, client_address: object) -> None:  # Any: a socket
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    try:
        return Server((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be used ({error}). Give another one: --port 7861") from None


def choice(query: dict[str, list[str]]) -> Choice:
    """Read a choice from a query string. Raises UserError for a value that is missing or no number."""
    try:
        one = {key: values[0] for key, values in query.items()}
        if "dial" in one and not math.isfinite(float(one["dial"])):
            raise ValueError(f"the dial is {one['dial']}")
        return Choice(
            one["class"],
            one["attribute"],
            one.get("method", "swap"),
            min(max(int(one.get("seed", 0)), 0), 2**31 - 1),
            int(one["swap_step"]),
            min(max(float(one["dial"]), -100.0), 100.0) if "dial" in one else None,
            one.get("upload", ""),
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"the page asked for an edit that cannot be read ({error}); load it again") from None


def facts(explorer: Explorer, name: str) -> Json:
    """Return what the page offers: the run's name, classes, attributes, methods, and steps."""
    return {
        "name": name,
        "classes": explorer.plan.classes,
        "attributes": explorer.attributes,
        "methods": {
            name: {"usual": way.usual, "dialled": way.dialled} for name, way in explorer.ways.items()
        },
        "steps": explorer.steps,
        "gain": GAIN,
        "judged": explorer.judge is not None,
        "kinds": KINDS,
        "largest": LARGEST,
    }


def shown(edit: Edit) -> Json:
    """Return an edit as the page shows it: three pictures as data, probabilities, and what it cost."""
    difference = GAIN * (edit.image - edit.origin).abs().mean(0, keepdim=True).expand(3, -1, -1) - 1
    return {
        "origin": picture(edit.origin),
        "image": picture(edit.image),
        "difference": picture(difference),
        "before": edit.before,
        "after": edit.after,
        "rows": edit.rows,
    }


def picture(image: Tensor) -> str:
    """Return an image (3, h, w) in [-1, 1] as the data of a PNG for a page."""
    pixels = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())
    zoom = max(1, -(-SMALLEST_SIDE // min(pixels.size)))
    content = io.BytesIO()
    pixels.resize((pixels.width * zoom, pixels.height * zoom), Image.Resampling.NEAREST).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
