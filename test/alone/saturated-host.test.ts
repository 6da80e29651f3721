import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { canGroup } from '../support/host-abilities.ts';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { accountOf } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const TRAFFIC_MS = repeated(10_000, 180_000);
/** What waits when the load ends is recorded within this. */
const SETTLED_MS = 30_000;
const RECORDED_SHARE = 0.99;
/** As a client sends a picture to a model that sees. */
const IMAGE = `data:image/png;base64,${randomBytes(1_500_000).toString('base64')}`;

const groups: string[] = [];
afterEach(async () => {
  for (const group of groups.splice(0)) {
    await msUntil(
      10_000,
      'the group is empty',
      () => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '',
    );
    rmdirSync(group);
  }
});

function newGroup(): string {
  const group = `/sys/fs/cgroup/cpu/reprise-saturated-${process.pid}`;
  mkdirSync(group);
  groups.push(group);
  return group;
}

/**
 * A recorder and, in the same session and control group, busy loops that wait for a file to appear. They end by
 * themselves at the latest when `seconds` are over.
 */
function startBeside(loops: number, go: string, args: readonly string[], controlGroups: readonly string[]) {
  const seconds = Math.ceil((TRAFFIC_MS + SETTLED_MS) / 1000);
  const loop = `while [ ! -e ${go} ]; do sleep 0.1; done; exec timeout --foreground ${seconds} sh -c 'while :; do :; done'`;
  // The recorder starts once the shell is in its groups.
  const script = `read -r started; for i in $(seq ${loops}); do (${loop}) & done; exec "$0" "$@"`;
  const command = [process.execPath, join(repositoryRoot, 'bin', 'reprise.js'), ...args];
  return startProcess('sh', ['-c', script, ...command], { ownGroup: true, controlGroups, stdin: 'go\n' });
}

function endLoops({ child }: RunningProcess): void {
  try {
    process.kill(-(child.pid as number), 'SIGKILL');
  } catch {
    // All have ended by themselves.
  }
}

/** @param masks flags of redaction; with them, a picture is sent each second besides */
async function recordBeside(
  loops: number,
  perSecond: number,
  controlGroups: readonly string[],
  masks: readonly string[] = [],
): Promise<void> {
  const origin = await new NumberedOrigin().listen();
  const home = temporaryDirectory();
  const go = join(home, 'go');
  const args = [
    ...['--log-format', 'json', 'record', '--target', `127.0.0.1:${origin.port}`],
    ...['--listen', '127.0.0.1:0', '--dir', join(home, 'capture'), '--probe-listen', 'off'],
    ...['--drain-delay', '0s', '--drain-deadline', '5s', ...masks],
  ];
  const recording = startBeside(loops, go, args, controlGroups);
  try {
    const [, port] = await recording.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/);
    await recording.waitFor('stderr', /"state":"HEALTHY"/);
    writeFileSync(go, '');
    const traffic = new PacedTraffic(Number(port), perSecond);
    const pictures = masks.length === 0 ? null : new PacedTraffic(Number(port), 1, IMAGE);
    await sleep(TRAFFIC_MS);
    await Promise.all([traffic.stop(), pictures?.stop()]);
    // To the loops it is the end at once, to the recording a drain.
    process.kill(-(recording.child.pid as number), 'SIGTERM');
    const { status, log, end } = await accountOf(recording);
    expect(status).toBe(0);
    expect([...traffic.failed, ...(pictures?.failed ?? [])]).toEqual([]);
    expect(log.filter(({ message }) => /hangs|recorder ended/.test(message))).toEqual([]);
    const succeeded = traffic.succeeded + (pictures?.succeeded ?? 0);
    expect(end['exchanges']).toBeGreaterThanOrEqual(succeeded * RECORDED_SHARE);
    expect(traffic.succeeded).toBeGreaterThan(0);
    if (pictures !== null) expect(pictures.succeeded).toBeGreaterThan(0);
  } finally {
    endLoops(recording);
    await origin.close();
  }
}

describe.runIf(process.platform === 'linux').each(
  repeated(
    [[8, 50]],
    [
      [17, 200],
      [32, 50],
    ],
  ) as [number, number][],
)('beside %i processes that take every processor, at %i requests a second', (loops, perSecond) => {
  it('of the same session, all is recorded and no recorder is killed', async () => {
    await recordBeside(loops, perSecond, []);
  });

  it.runIf(canGroup)('of the same control group, all is recorded and no recorder is killed', async () => {
    await recordBeside(loops, perSecond, [newGroup()]);
  });

  it('a picture of 2 MB each second is masked and recorded with all the rest', async () => {
    await recordBeside(loops, perSecond, canGroup ? [newGroup()] : [], ['--redact-preset', 'llm']);
  });
});
