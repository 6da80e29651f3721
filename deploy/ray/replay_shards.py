"""Replays a capture from several hosts of a Ray cluster, and merges their shards into one run.

`python replay_shards.py CAPTURE --shards 3 --target http://staging:8000 --out runs/ray --slo 'latency: p(99)<200'`
with `pip install ray`, or by `ray job submit`. Flags after `--` go to every shard, such as `-- --multiplier 2`. Each
host needs one version of `reprise`, and the capture at the same path. The run is written where this program runs. It
exits as `reprise merge` does: 0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

# Exit codes of a replay that ended with a run.
PLAYED = (0, 3, 4, 5)
# Of a run that comes back. Neither end holds a whole one in memory.
PART_BYTES = 16 << 20


def undo_niceness():
    """Ray's workers have niceness 15, so on a busy host sends would be late. Only root may undo that here."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)


@ray.remote(max_retries=0)
def plan(reprise, capture, shard, flags):
    """Plans a shard and sends nothing. @returns its plan, or why there is none, and the seconds it took"""
    undo_niceness()
    began = time.monotonic()
    command = [*reprise, "replay", capture, "--shard", shard, *flags, "--dry-run", "--json"]
    try:
        planned = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return None, f"{socket.gethostname()} cannot start reprise: {error}", 0
    if planned.returncode != 0:
        return None, f"{socket.gethostname()} cannot plan: {planned.stderr[-4_000:]}", 0
    return json.loads(planned.stdout), None, time.monotonic() - began


# A shard is never played again: what it sent was sent.
@ray.remote(max_retries=0)
def play(reprise, capture, shard, flags):
    """Plays one shard. Yields its host as it begins, then its exit code and words, then its run in parts of a tar"""
    yield socket.gethostname()
    undo_niceness()
    with tempfile.TemporaryDirectory() as home:
        name = "shard-" + shard.partition("/")[0]
        run = pathlib.Path(home, name)
        command = [*reprise, "replay", capture, "--shard", shard, "--out", str(run), *flags]
        played = subprocess.run(command, capture_output=True, text=True, check=False)
        yield played.returncode, played.stderr[-4_000:]
        if not run.exists():
            return
        with tempfile.TemporaryFile(dir=home) as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(run, name)
            packed.seek(0)
            while part := packed.read(PART_BYTES):
                yield part


def play_all(asked, reprise, out):
    """Begins all shards at one instant, each on processors of its own. @returns exit code and words of each"""
    group = placement_group([{"CPU": asked.cpus}] * asked.shards, strategy="SPREAD")

    def on_all(task, flags, start=""):
        shards = []
        for at in range(asked.shards):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=at)
            placed = task.options(num_cpus=asked.cpus, scheduling_strategy=place)
            shards.append(placed.remote(reprise, asked.capture, f"{at}/{asked.shards}{start}", flags))
        return shards

    try:
        ray.get(group.ready(), timeout=asked.wait)
        flags = ["--target", asked.target, *asked.flags]
        took = check(ray.get(on_all(plan, flags)))
        lead = took + asked.lead
        start = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lead)
        shards = on_all(play, flags, f",start={start.isoformat()}")
        # A shard without a host stays pending. Past the start it is too late, even if a host comes.
        begun, _ = ray.wait(shards, num_returns=len(shards), timeout=lead)
        return [taken(shard, out) if shard in begun else (None, "no host began it") for shard in shards]
    except GetTimeoutError:
        sys.exit(f"The cluster has no {asked.shards} times {asked.cpus} free CPUs. Add hosts, or lower --cpus.")
    except RayError as error:
        sys.exit(f"A host was lost before anything was sent: {error}")
    finally:
        remove_placement_group(group)


def check(plans):
    """Ends the job before anything is sent, if shards could not be merged. @returns seconds of the slowest plan"""
    wrong = {why for _, why, _ in plans if why is not None}
    if wrong:
        sys.exit("\n".join(sorted(wrong)))
    versions = [document["version"] for document, _, _ in plans]
    digests = [document["shard"]["planDigest"][:12] for document, _, _ in plans]
    for what, found in (("version", versions), ("plan", digests)):
        if len(set(found)) > 1:
            sys.exit(f"The hosts differ in {what}: {found}. Each needs the same reprise, capture and settings.")
    return max(seconds for _, _, seconds in plans)


def taken(shard, out):
    """Unpacks the run of a shard. A host that was lost costs its shard. @returns its exit code, and what it said"""
    try:
        with tempfile.TemporaryFile(dir=out) as packed:
            _host, (code, said) = ray.get(next(shard)), ray.get(next(shard))
            for part in shard:
                packed.write(ray.get(part))
            if packed.tell() > 0:
                packed.seek(0)
                with tarfile.open(fileobj=packed) as archive:
                    archive.extractall(out, filter="data")
            return code, said
    except RayError as error:
        return None, str(error)


def main():
    parser = argparse.ArgumentParser(
        description="Replay a capture from several hosts of a Ray cluster.",
        epilog="Flags after -- go to `reprise replay` of every shard.",
    )
    parser.add_argument("capture", help="the capture, at the same path on every host")
    parser.add_argument("--shards", type=int, required=True, help="how many processes play it")
    parser.add_argument("--target", required=True, help="server URL")
    parser.add_argument("--out", required=True, help="empty directory for the shards and their merged run")
    parser.add_argument("--slo", action="append", default=[], help="objective of the merged run; repeatable")
    parser.add_argument("--cpus", type=float, default=3, help="CPUs of a shard: main, pacer, sender (default: 3)")
    parser.add_argument("--lead", type=float, default=15, help="seconds from plan to start (default: 15)")
    parser.add_argument("--wait", type=float, default=300, help="seconds to wait for free CPUs (default: 300)")
    parser.add_argument("--reprise", default="reprise", help="command of reprise on every host")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:at])
    asked.capture, asked.flags = os.path.abspath(asked.capture), sys.argv[at + 1 :]
    out = pathlib.Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        parser.error(f"{out} is not empty")
    reprise = shlex.split(asked.reprise)
    ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    runs = []
    for at, (code, said) in enumerate(play_all(asked, reprise, out)):
        if code in PLAYED:
            runs.append(str(out / f"shard-{at}"))
        else:
            print(f"shard {at} ended with {code}, and is not merged:\n{said}", file=sys.stderr)
    ray.shutdown()
    if not runs:
        sys.exit("No shard ended with a run, so there is nothing to merge.")
    slo = [flag for objective in asked.slo for flag in ("--slo", objective)]
    sys.exit(subprocess.run([*reprise, "merge", *runs, "--out", str(out / "merged"), *slo], check=False).returncode)


if __name__ == "__main__":
    main()
