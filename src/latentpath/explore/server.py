"""Serves the page of the explorer to browsers on this machine, and nothing to anybody else."""

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
from latentpath.explore.uploads import UPLOAD_SUFFIXES
from latentpath.runs.files import Json

HOST = "127.0.0.1"
FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
MIN_SIDE = 256  # pixels: smaller pictures are enlarged by a whole factor
MAX_BYTES = 64 * 2**20  # of an upload
GAIN = 3  # the factor by which the difference of two images is brightened
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def build_server(explorer: Explorer, name: str, port: int = 0) -> ThreadingHTTPServer:
    """Return a server for the explorer of the run `name`, which only this machine can reach.

    Port 0 takes any free port. Raises UserError if the port cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers what the page asks for: its files, a description of the run, edits, and uploads."""

        server_version, sys_version, timeout = "latentpath", "", 60

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._refuses_origin():
                return
            if url.path in FILES:
                file = Path(__file__).parent / FILES[url.path]
                return self._send(HTTPStatus.OK, TYPES[file.suffix], file.read_bytes())
            if url.path == "/run":
                return self._send_json(lambda: describe_run(explorer, name))
            if url.path == "/edit":
                return self._send_json(lambda: describe_edit(explorer.edit(read_choice(parse_qs(url.query)))))
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            if self._refuses_origin():
                return
            if url.path != "/upload":
                return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")
            file = (parse_qs(url.query).get("name") or ["the image"])[0]
            self._send_json(lambda: {"upload": explorer.uploads.add(file, self._content())})

        def _content(self) -> bytes:
            """Read the body of the request. Raises UserError if it is empty or too large."""
            header = self.headers.get("Content-Length") or "0"
            length = int(header) if header.isdecimal() else 0
            if not 0 < length <= MAX_BYTES:
                raise UserError(f"the image has {length:,} bytes, expected 1 to {MAX_BYTES:,}")
            return self.rfile.read(length)

        def _refuses_origin(self) -> bool:
            """Refuse a request that comes from another site's page; return whether it was refused.

            Such a page may reach this machine under another host name (DNS rebinding), or send a form to it.
            """
            host = self.headers.get("Host") or ""
            ours = host.rsplit(":", 1)[0] in (HOST, "localhost")
            if ours and self.headers.get("Origin") in (None, f"http://{host}"):
                return False
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page answers browsers on this machine only")
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
            """Do not log requests."""

    class Server(ThreadingHTTPServer):
        """Prints no traceback when a browser leaves in the middle of a request."""

        def handle_error(self, request: Any, client_address: object) -> None:  # Any: a socket
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    try:
        return Server((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"port {port} cannot be used ({error}). Give another one, such as --port 7861"
        ) from None


def read_choice(query: dict[str, list[str]]) -> Choice:
    """Read a choice from a parsed query string; seed and dial are clipped to their ranges.

    Raises UserError for a value that is missing or not a number.
    """
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
        raise UserError(
            f"the page asked for an edit that cannot be read ({error}); reload the page"
        ) from None


def describe_run(explorer: Explorer, name: str) -> Json:
    """Return what the page offers: the classes, attributes, methods and steps of the run `name`."""
    return {
        "name": name,
        "classes": explorer.plan.classes,
        "attributes": explorer.attributes,
        "methods": {
            method: {"default": one.default, "has_dial": one.has_dial}
            for method, one in explorer.methods.items()
        },
        "steps": explorer.steps,
        "gain": GAIN,
        "judged": explorer.judge is not None,
        "upload_suffixes": UPLOAD_SUFFIXES,
        "max_bytes": MAX_BYTES,
    }


def describe_edit(edit: Edit) -> Json:
    """Return what the page shows of an edit: three pictures, the probabilities, and its U-Net rows."""
    difference = GAIN * (edit.image - edit.origin).abs().mean(0, keepdim=True).expand(3, -1, -1) - 1
    return {
        "origin": png_url(edit.origin),
        "image": png_url(edit.image),
        "difference": png_url(difference),
        "before": edit.before,
        "after": edit.after,
        "rows": edit.rows,
    }


def png_url(image: Tensor) -> str:
    """Return an image (3, h, w) in [-1, 1] as a data URL of a PNG."""
    pixels = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())
    zoom = max(1, -(-MIN_SIDE // min(pixels.size)))
    content = io.BytesIO()
    pixels.resize((pixels.width * zoom, pixels.height * zoom), Image.Resampling.NEAREST).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
