"""Checks the models of the ending and of the steps, and prints one line for each search.

    python tests/formal/run.py            the short ones, in under a minute
    python tests/formal/run.py --long     all of them
    python tests/formal/run.py --trace C1 those whose name has this in it; a failure is told step by step

Without spin it says so and checks nothing. Exit status 0: all came out as they must, or spin is missing.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from spacedrive_node.tests.harness.model_checker import SEARCHES, Search, missing_tools, search


def main() -> int:
    """Run the searches, as many at once as there are processors."""
    parser = argparse.ArgumentParser(description="check the formal models with spin")
    parser.add_argument("--long", action="store_true", help="the long searches too")
    parser.add_argument("--trace", metavar="NAME", help="only searches with this in their name, step by step")
    arguments = parser.parse_args()
    if missing := missing_tools():
        print(
            f"SKIPPED: the models were not checked, for {' and '.join(missing)} is not installed.\n"
            "         Debian and Ubuntu: sudo apt-get install spin gcc"
        )
        return 0
    chosen = [one for one in SEARCHES if arguments.long or arguments.trace or not one.long]
    if arguments.trace:
        chosen = [one for one in chosen if arguments.trace in one.name]

    def check(one: Search) -> bool:
        result, states, trace = search(one, trace=arguments.trace is not None)
        verdict = "ok" if result == one.expected else "WRONG"
        print(f"{verdict:6} {result:7} {one.name:36} {one.model:7} {states:9,} states", trace, flush=True)
        return result == one.expected

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, chosen))
    print(f"{sum(results)} of {len(results)} came out as they must")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
