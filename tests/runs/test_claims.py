"""Processes that share out pieces do each once, and take over the pieces of those that ended."""

import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from latentpath.runs import claims
from latentpath.runs.claims import Claim, share_out


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.005)


def _work(pieces, folder, results, log):
    for piece in share_out(pieces, folder / "claims", done=lambda p: (results / p).exists()):
        log.append(piece)
        (results / piece).touch()


def test_one_process_does_all_pieces_in_order_and_leaves_no_claim(tmp_path):
    log = []
    _work(["a", "b", "c"], tmp_path, tmp_path, log)
    assert log == ["a", "b", "c"]
    assert list((tmp_path / "claims").iterdir()) == []


def test_finished_pieces_are_told_and_not_done_again(tmp_path):
    told = []
    (tmp_path / "b").touch()
    done = lambda piece: (tmp_path / piece).exists()  # noqa: E731
    for piece in share_out(["a", "b"], tmp_path / "claims", done=done, on_done=told.append):
        (tmp_path / piece).touch()
    assert told == ["b"]


def test_many_at_once_do_each_piece_once(tmp_path):
    pieces = [f"piece{i}" for i in range(60)]
    logs = [[] for _ in range(6)]
    threads = [threading.Thread(target=_work, args=(pieces, tmp_path, tmp_path, log)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(piece for log in logs for piece in log) == Counter(pieces)


def test_the_piece_of_a_killed_process_is_taken_over_at_once(tmp_path):
    code = "import os, sys; from pathlib import Path; from latentpath.runs.claims import Claim\n"
    code += "assert Claim(Path(sys.argv[1])).take(); os._exit(9)"
    path = tmp_path / "claims" / "a"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.exists()
    log = []
    _work(["a"], tmp_path, tmp_path, log)
    assert log == ["a"]


def test_the_claim_of_a_process_that_was_killed_after_its_piece_is_removed(tmp_path):
    code = "import os, sys; from pathlib import Path; from latentpath.runs.claims import share_out\n"
    code += "folder = Path(sys.argv[1])\n"
    code += "for piece in share_out(['a'], folder / 'claims', done=lambda p: (folder / p).exists()):\n"
    code += "    (folder / piece).touch(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert (tmp_path / "claims" / "a").exists()
    (tmp_path / "claims" / "of_another_machine").write_text("elsewhere 1 0000")
    log = []
    _work(["a"], tmp_path, tmp_path, log)
    assert log == []
    assert [claim.name for claim in (tmp_path / "claims").iterdir()] == ["of_another_machine"]


def test_a_claim_of_another_machine_is_kept_while_it_gives_signs_of_life(tmp_path):
    path = tmp_path / "a"
    path.write_text("elsewhere 1 0000")
    assert not Claim(path).take()
    silent = path.stat().st_mtime - claims.SILENCE - 1
    os.utime(path, (silent, silent))
    claim = Claim(path)
    assert claim.take()
    assert path.read_text() == claim.owner


def test_a_process_that_works_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.005)
    claim = Claim(tmp_path / "a")
    assert claim.take()
    os.utime(claim.path, (0, 0))
    beaten = threading.Event()
    while claim.path.stat().st_mtime == 0:
        beaten.wait(0.005)
    claim.release()
    assert not claim.path.exists()


def test_a_slow_process_does_not_give_up_the_claim_of_its_successor(tmp_path):
    slow, next_one = Claim(tmp_path / "a"), Claim(tmp_path / "a")
    assert slow.take()
    silent = slow.path.stat().st_mtime - claims.SILENCE - 1
    os.utime(slow.path, (silent, silent))
    assert next_one.take()
    slow.release()
    assert slow.path.read_text() == next_one.owner


def test_a_piece_that_fails_is_free_again(tmp_path):
    with pytest.raises(RuntimeError):
        for _ in share_out(["a"], tmp_path / "claims", done=lambda piece: False):
            raise RuntimeError
    assert Claim(tmp_path / "claims" / "a").take()


def test_a_claim_that_changed_hands_meanwhile_is_put_back(tmp_path, monkeypatch):
    late, successor = Claim(tmp_path / "a"), Claim(tmp_path / "a")

    def abandoned(self, holder):
        late.path.write_text(successor.owner)  # between the look and the removal
        return True

    late.path.write_text("elsewhere 1 0000")
    monkeypatch.setattr(Claim, "_is_abandoned", abandoned)
    assert not late.take()
    assert late.path.read_text() == successor.owner
