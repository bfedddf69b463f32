"""The explorer's page in a real browser, and its server, which speaks to this machine alone."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import socket
import struct
from threading import Thread

import pytest
from PIL import Image

from latentpath.commands import explore
from latentpath.errors import UserError
from latentpath.explore.server import build_server

CHROMIUM = shutil.which("chromium")


@pytest.fixture
def server(explorer):
    with build_server(explorer, "tiny") as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    status, _, _ = get(server, "/run", host="evil.example")
    assert status == 403
    other = socket.gethostbyname(socket.gethostname())
    if not other.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((other, server.server_port), timeout=2)


def test_the_policy_lets_nothing_in_from_elsewhere(server):
    for path in ("/", "/page.js", "/page.css"):
        status, content, headers = get(server, path)
        assert status == 200 and b"http" not in content.replace(b"http-equiv", b"")
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; img-src data:;")
        assert headers["Cache-Control"] == "no-store"
    assert get(server, "/../explorer.py")[0] == 404


def test_a_wrong_edit_is_answered_in_words(server):
    for query, words in (
        ("class=NV&attribute=hare&swap_step=1", "Did you mean"),
        ("class=NV", "reload the page"),
        ("class=NV&attribute=hair&swap_step=1&method=contrast&dial=nan", "the dial is nan"),
        ("class=NV&attribute=hair&swap_step=1&seed=x", "reload the page"),
    ):
        status, content, _ = get(server, f"/edit?{query}")
        assert status == 400 and words in json.loads(content)["error"]


def test_a_taken_port_is_named(server, explorer):
    with pytest.raises(UserError, match=f"port {server.server_port} cannot be used.*--port"):
        build_server(explorer, "tiny", server.server_port)


def test_the_command_names_runs_that_are_near(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no run 'tiny' in outputs/.*`make demo` makes one"):
        explore.find_run("tiny")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "tiny").symlink_to(finished)
    assert explore.find_run("tiny").name == "tiny" and explore.find_run(str(finished)) == finished
    with pytest.raises(UserError, match=r"Did you mean 'tiny'"):
        explore.find_run("tinny")


def post(server, path, content, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("POST", path, content, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_an_upload_is_taken_from_this_page_alone(server, png_32):
    home = f"http://127.0.0.1:{server.server_port}"
    assert post(server, "/upload?name=a.png", png_32, Origin="https://evil.example")[0] == 403
    status, content = post(server, "/upload?name=a.png", png_32, Origin=home)
    assert status == 200
    query = f"/edit?class=NV&attribute=hair&swap_step=3&upload={json.loads(content)['upload']}"
    assert get(server, query)[0] == 200
    assert post(server, "/edit", png_32)[0] == 404


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes, expected 1 to"),
        (b"no image", "cannot read the image a.png"),
        (b"x" * 99, "99 bytes"),
    ],
)
def test_an_upload_that_cannot_be_taken_is_answered_in_words(server, monkeypatch, content, words):
    monkeypatch.setattr("latentpath.explore.server.MAX_BYTES", 98)
    status, answer = post(server, "/upload?name=a.png", content)
    assert status == 400 and words in json.loads(answer)["error"]


def test_a_request_that_is_cut_off_or_no_request_ends_quietly(server, png_32, capsys):
    """Browsers leave in the middle of a request; nothing is printed, and the next request is answered."""
    host = f"POST /upload?name=a.png HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    for content in (
        f"{host}Content-Length: many\r\n\r\n".encode(),
        f"{host}Content-Length: 999\r\n\r\nabc".encode(),
        b"GET /run HT",
        b"\0\xff\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(content)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    assert get(server, "/run")[0] == 200
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def png_32():
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (180, 120, 90)).save(content, "png")
    return content.getvalue()


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_two_users_upload_and_edit_without_disturbing_each_other(server, browser, png_32, tmp_path):
    from playwright.sync_api import expect

    (tmp_path / "text.png").write_text("no picture")
    mine, other = (browser.new_context().new_page() for _ in range(2))
    for page in (mine, other):
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        expect(page.locator("#status")).to_have_text(re.compile(r"\d+ U-Net rows"), timeout=60_000)
    generated = mine.get_attribute("#origin", "src")
    assert other.get_attribute("#origin", "src") == generated
    mine.set_input_files("#file", {"name": "skin.png", "mimeType": "image/png", "buffer": png_32})
    expect(mine.locator("#origin-caption")).to_have_text(
        "before: your image, as the model's VAE renders it", timeout=60_000
    )
    expect(mine.locator("#status")).to_have_text("24 U-Net rows", timeout=60_000)  # inversion and trunk
    assert "on no disk" in mine.text_content("#note")
    uploaded = mine.get_attribute("#origin", "src")
    other.focus("#step")
    other.keyboard.press("End")
    expect(other.locator("#status")).to_have_text("12 U-Net rows", timeout=60_000)
    assert other.get_attribute("#origin", "src") == generated != uploaded
    mine.focus("#step")
    mine.keyboard.press("End")
    expect(mine.locator("#status")).to_have_text("12 U-Net rows", timeout=60_000)
    assert mine.get_attribute("#origin", "src") == uploaded != mine.get_attribute("#image", "src")
    mine.set_input_files("#file", str(tmp_path / "text.png"))
    expect(mine.locator("#status.error")).to_contain_text("cannot read the image text.png", timeout=60_000)
    mine.focus("#remove-upload")
    mine.keyboard.press("Enter")
    expect(mine.locator("#origin-caption")).to_have_text("before")
    expect(mine.locator("#status")).to_have_text(re.compile(r"\d+ U-Net rows"), timeout=60_000)
    assert mine.get_attribute("#origin", "src") == generated


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_slider_moves_the_picture_by_mouse_and_keyboard(server, browser):
    from playwright.sync_api import expect

    home, asked, wrong = f"http://127.0.0.1:{server.server_port}/", [], []
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def rows(expected):
        expect(page.locator("#status")).to_have_text(f"{expected} U-Net rows", timeout=60_000)
        return page.get_attribute("#image", "src")

    page.goto(home)
    neutral = rows(12)  # the trunk: six steps, each of them guided
    assert neutral == page.get_attribute("#origin", "src")
    page.focus("#step")
    page.keyboard.press("ArrowRight")
    weak = rows(2)
    page.keyboard.press("End")
    strong = rows(12)
    assert len({neutral, weak, strong}) == 3
    assert page.text_content("#step-value") == "0 of 6, the strongest edit"
    box = page.locator("#step").bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    expect(page.locator("#step-value")).to_have_text("6 of 6, no edit")
    assert rows(0) == neutral
    page.select_option("#attribute", "ink")
    expect(page.locator("tr.edited td").first).to_have_text("ink", timeout=60_000)
    expect(page.locator("#probabilities tr")).to_have_count(4)
    page.select_option("#method", "removal")
    expect(page.locator("#dial")).to_be_disabled()
    page.select_option("#method", "contrast")
    expect(page.locator("#dial-value")).to_have_text("3")
    for width in (360, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    assert asked and all(url.startswith((home, "data:")) for url in asked)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_tab_reaches_every_control(server, browser):
    from playwright.sync_api import expect

    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    expect(page.locator("#class option")).to_have_count(2, timeout=60_000)
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert {"class", "attribute", "method", "seed", "file", "step", "dial"} <= set(reached)
