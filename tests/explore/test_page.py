"""The explorer's page in a real browser, and its server, which speaks to this machine alone."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from threading import Thread

import pytest

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
        ("class=NV", "load it again"),
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


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_slider_moves_the_picture_by_mouse_and_keyboard(server, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    home, asked, wrong = f"http://127.0.0.1:{server.server_port}/", [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))

        def rows(expected):
            expect(page.locator("#said")).to_have_text(f"{expected} U-Net rows", timeout=60_000)
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
        assert page.text_content("#step-said") == "0 of 6, the strongest edit"
        page.select_option("#attribute", "ink")
        expect(page.locator("tr.asked td").first).to_have_text("ink", timeout=60_000)
        expect(page.locator("#probabilities tr")).to_have_count(4)
        page.select_option("#method", "removal")
        expect(page.locator("#dial")).to_be_disabled()
        page.select_option("#method", "contrast")
        expect(page.locator("#dial-said")).to_have_text("3")
        page.screenshot(path=str(tmp_path / "explore.png"))
        for width in (360, 1000):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert wrong == []
    assert asked and all(url.startswith((home, "data:")) for url in asked)
