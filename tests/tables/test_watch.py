"""`cotrain watch` beside a worker, into a pipe and on a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from cotrain.tables.runs import Run, TrainedModel


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
def test_watch_follows_a_worker(terminal, lab):
    lab.enqueue("Long")
    key = {"run_key": lab.recipe("Long")().expand()[0].key()}
    watcher, ours = None, None
    try:
        if terminal:
            ours, theirs = pty.openpty()
            code = "import sys; from cotrain.cli import main; sys.exit(main())"
            watcher = subprocess.Popen(
                [sys.executable, "-c", code, "watch", "long"], stdout=theirs, env=lab.environment, cwd=lab.home
            )
            lab.started.append(watcher)
            os.close(theirs)
        else:
            watcher = lab.start("watch", "long")
        assert lab.cotrain("work", "--recipe", "Long").returncode == 0
        if terminal:
            said = b""
            while True:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
            text = said.decode().replace("\r\n", "\n")
            assert "\x1b[H\x1b[J" in text
        else:
            text = watcher.communicate(timeout=60)[0]
        assert watcher.wait(timeout=60) == 0
        assert text.rstrip().endswith("1 done")
    finally:
        if ours is not None:
            os.close(ours)
        (Run() & key).delete()
        (TrainedModel.jobs & key).delete_quick()
