"""What tests of the command line share."""

import pytest

from jaxvlm.cli import main


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command inside this process, in `tmp_path`; returns the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
