"""Runs Autobahn's fuzzing client (Python 2) and prints what it found.

Fails if a case fails that is not listed here, or if a listed one passes.
"""

from __future__ import print_function

import collections
import json
import os
import socket
import subprocess
import sys
import time

# Compression, which the server never negotiates.
EXCLUDED = ["12.*", "13.*"]

# A fault in the middle of a frame is told at its end, since a payload is unmasked once.
NON_STRICT = {"6.4.3", "6.4.4"}


def await_server(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except socket.error:
            time.sleep(0.1)
    sys.exit("the server does not listen on port %d" % port)


def main():
    port, cases = int(sys.argv[1]), sys.argv[2:] or ["*"]
    await_server(port)
    spec = {
        "outdir": "reports",
        "servers": [{"agent": "purrr", "url": "ws://127.0.0.1:%d/ws" % port}],
        "cases": cases,
        "exclude-cases": EXCLUDED,
        "exclude-agent-cases": {},
    }
    with open("fuzzingclient.json", "w") as out:
        json.dump(spec, out)
    wstest = os.path.join(os.path.dirname(sys.executable), "wstest")
    with open("wstest.log", "w") as log:
        subprocess.check_call([wstest, "-m", "fuzzingclient", "-s", out.name], stdout=log, stderr=log)
    with open("reports/index.json") as index:
        found = json.load(index)["purrr"]

    sections = collections.defaultdict(collections.Counter)
    wrong = []
    for case, outcome in found.items():
        section = int(case.split(".")[0])
        sections[section][outcome["behavior"]] += 1
        expected = "NON-STRICT" if case in NON_STRICT else "OK"
        for part in ("behavior", "behaviorClose"):
            # Informational cases have no right answer.
            if outcome[part] not in (expected, "OK", "INFORMATIONAL"):
                wrong.append((case, part, outcome[part]))
        if expected != "OK" and outcome["behavior"] == "OK":
            wrong.append((case, "behavior", "OK, but listed as " + expected))
    for section, outcomes in sorted(sections.items()):
        print(section, ", ".join("%d %s" % (n, what) for what, n in sorted(outcomes.items())))
    print(len(found), "cases")
    for one in sorted(wrong):
        print("%s: %s is %s" % one)
    sys.exit(1 if wrong or not found else 0)


if __name__ == "__main__":
    main()
