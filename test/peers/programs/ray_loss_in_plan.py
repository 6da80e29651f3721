"""Runs a job of deploy/ray whose cluster loses a node when all shards are planned and none has begun.

`ray_cluster.py` runs this, and ends a node at SIGUSR1.
"""

import os
import pathlib
import signal
import sys
import time

import ray
from ray import cloudpickle

job = pathlib.Path(sys.argv.pop(1))
sys.path.insert(0, str(job.parent))
import replay_shards

# Workers need not find the module.
cloudpickle.register_pickle_by_value(replay_shards)
check = replay_shards.check


def check_and_lose(plans):
    took = check(plans)
    os.kill(os.getppid(), signal.SIGUSR1)
    while sum(node["Alive"] for node in ray.nodes()) > 2:
        time.sleep(0.1)
    return took


replay_shards.check = check_and_lose
replay_shards.main()
