"""A program that evaluates, and misbehaves on request: ``program.py KIND [FILE]``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

kind = sys.argv[1]
asked = json.load(sys.stdin)
layers = sum(len(stage) for stage in asked["layers"])
print(f"evaluating {asked['arch']}", file=sys.stderr)
if kind == "good":
    print(json.dumps({"acc": layers + asked["seed"] / 10, "params": 7}))
elif kind == "pretty":
    print(json.dumps({"acc": layers, "params": 7}, indent=2))
elif kind == "steps":
    for step in range(1, 4):
        print(json.dumps({"step": step, "acc": step * layers}), flush=True)
    print(json.dumps({"acc": 3 * layers}))
elif kind == "endless":
    child = subprocess.Popen(["sleep", "1000"])
    Path(sys.argv[2]).write_text(f"{os.getpid()} {child.pid}")
    for step in range(1, 10_000):
        print(json.dumps({"step": step, "acc": 0.0}), flush=True)
        time.sleep(0.05)
elif kind == "rubbish":
    print("epoch 1: loss 0.3\nacc = 93.5")
elif kind == "list":
    print("[93.5]")
elif kind == "two":
    print('{"acc": 1}\n{"acc": 2}')
elif kind == "nothing":
    pass
elif kind == "nan":
    print('{"acc": NaN}')
elif kind == "text":
    print('{"acc": "93.5"}')
elif kind == "badstep":
    print('{"step": "one", "acc": 1}')
elif kind == "fails":
    print("x" * 2000 + "CUDA out of memory", file=sys.stderr)
    sys.exit(3)
elif kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
