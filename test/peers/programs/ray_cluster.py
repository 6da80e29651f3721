"""Starts a Ray cluster of three nodes on this machine, runs a program on it, and ends with its exit code.

SIGUSR1 ends the processes of one node at once, as the loss of a host does.
"""

import os
import signal
import subprocess
import sys
import tempfile

from ray.cluster_utils import Cluster

SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20}

with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:
    os.environ |= {"RAY_TMPDIR": home, "TMPDIR": home, "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    try:
        lost, _ = [cluster.add_node(**SMALL) for _ in range(2)]
        signal.signal(signal.SIGUSR1, lambda *_: cluster.remove_node(lost, allow_graceful=False))
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        status = subprocess.run([sys.executable, *sys.argv[1:]], env=environment, check=False).returncode
    finally:
        cluster.shutdown()
sys.exit(status)
