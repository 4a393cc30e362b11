"""A stand-in as its own process, for tests that kill the client and look at what was charged.

    python -m tests.standins google --journal charges.jsonl --seconds 0.05 --fault Dropped:charged=True --rate 0.2

Prints its port when it answers, and ends on SIGTERM or SIGINT. The journal has a line of JSON for each charge, which is
on disk before the request is answered.
"""

from __future__ import annotations

import argparse
import ast
import signal
import sys

from tests.standins import faults
from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.fal import Fal
from tests.standins.google import Google
from tests.standins.huggingface import HuggingFace
from tests.standins.openai import OpenAI
from tests.standins.replicate import Replicate
from tests.standins.server import serve
from tests.standins.vendor import Vendor

VENDORS: dict[str, type[Vendor]] = {
    vendor.name: vendor for vendor in (Google, OpenAI, BlackForestLabs, Replicate, HuggingFace, Fal)
}


def fault(text: str) -> faults.Fault:
    """`Dropped:charged=True,reset=False` as the fault it names."""
    name, _, settings = text.partition(":")
    pairs = (pair.partition("=") for pair in settings.split(",") if pair)
    kind = getattr(faults, name, None)
    if not (isinstance(kind, type) and issubclass(kind, faults.Fault)):
        raise argparse.ArgumentTypeError(f"there is no fault {name!r}; faults.py draws their tree")
    return kind(**{key: ast.literal_eval(value) for key, _, value in pairs})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.standins", description=__doc__)
    parser.add_argument("vendor", choices=sorted(VENDORS))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--journal", help="file that charges are appended to")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a generation takes")
    parser.add_argument("--rounds", type=int, default=1, help='polls that are told "not yet"')
    parser.add_argument("--fault", type=fault, help="what some requests meet, such as Dropped:charged=True")
    parser.add_argument("--rate", type=float, default=1.0, help="the part of the requests that meet it")
    parser.add_argument("--step", default="generate", help="the kind of request that meets it")
    parser.add_argument("--seed", type=int, default=0, help="decides which requests meet it")
    asked = parser.parse_args()
    vendor = VENDORS[asked.vendor](key=asked.key, seconds=asked.seconds, rounds=asked.rounds, journal=asked.journal)
    if asked.fault is not None:
        vendor.often(asked.fault, asked.rate, step=asked.step, seed=asked.seed)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there is a second thread that could be interrupted instead
    with serve(vendor.app, port=asked.port) as vendor.url:
        sys.stdout.write(vendor.url.rpartition(":")[2] + "\n")
        sys.stdout.flush()
        signal.sigwait(ends)
    sys.stderr.writelines(vendor.problems)
    return 1 if vendor.problems else 0


if __name__ == "__main__":
    sys.exit(main())
