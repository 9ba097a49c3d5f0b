"""The agent as a Pod runs it: with a connection of its own, not with a kubeconfig, whose reader alone takes 20 MB."""

import sys

from agent import __main__ as program
from tidegate.config import load
from tidegate.kube.connection import plain
from tidegate.process import calls, logs


def main() -> int:
    """`python -m bench.agent_alone URL ARGUMENTS…`, the arguments being the agent's."""
    url, *given = sys.argv[1:]
    logs.configure()
    arguments = program._parse(given)  # noqa: SLF001 - the program is measured, not its way to a service account
    return calls.run(program._serve(arguments, load(arguments.config), plain(url)))  # noqa: SLF001


if __name__ == "__main__":
    sys.exit(main())
