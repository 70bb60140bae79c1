"""``python -m unmask`` is the ``unmask`` command."""

from unmask.cli import console

if __name__ == "__main__":
    console()
