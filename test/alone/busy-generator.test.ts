import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { startReprise } from '../support/process.ts';
import { documentOf, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { IDLE, mayReturn, NORMAL, policiesOf, threadsAreNamed } from '../support/thread-policies.ts';

const HELPERS = 'V8Worker';
const killers: (() => void)[] = [];
afterEach(() => {
  for (const kill of killers.splice(0)) kill();
});

/** Two programs for each processor that never rest. */
function burn(): void {
  for (let nth = 0; nth < 2 * availableParallelism(); nth++) {
    const child = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
    killers.push(() => child.kill('SIGKILL'));
  }
}

it.skipIf(!mayReturn || !threadsAreNamed)(
  "a replay does not wait for V8's helpers on a machine that has become busy, as it stood still for 12 to 35 s " +
    '(needs chrt, leave to leave its idle class, and a Node that names its threads)',
  async () => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const run = startReprise([
      'replay',
      captureOf(requestsOf(3_000, 5_000)),
      ...['--target', server.url, '--out', out, '--json'],
    ]);
    const { pid } = run.child;
    const are = (policy: number): boolean =>
      [...(policiesOf(pid as number).get(HELPERS) ?? [])].every((each) => each === policy);
    while (server.requests.length < 100) await pause(10);
    // On a machine that is busy already they may be back, or have stayed.
    for (const untilMs = performance.now() + 3_000; !are(IDLE) && performance.now() < untilMs; )
      await pause(50);
    burn();
    await expect.poll(() => are(NORMAL), { timeout: 30_000 }).toBe(true);
    const document = documentOf(await run.finished);
    expect(document).toMatchObject({ sent: 3_000, failed: 0 });
    expect(document.health.longestStallMs).toBeLessThan(5_000);
  },
);
