import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { Agent, IssuingRouter } from '../support/issuing-router.ts';
import { runReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SESSIONS = 30;
const SHARDS = [0, 1, 2];
let production: IssuingRouter;
let capture: string;

beforeAll(async () => {
  production = await new IssuingRouter().listen();
  capture = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(production.port, capture, ['--identify-session', 'x-session-id']);
  const agents = Array.from({ length: SESSIONS }, async (_, at) => {
    await sleep(at * 60);
    const agent = new Agent(recording.port, `session ${at}`);
    let last = await agent.turn(null, []);
    for (let turn = 1; turn < 6; turn += 1) {
      await sleep(20);
      last = await (turn === 3 ? agent.cancelledTurn(last.id) : agent.turn(last.id, last.calls));
    }
  });
  await Promise.all(agents);
  expect((await recording.stop()).status).toBe(0);
});
afterAll(() => production.close());

/** The plan as three shards, and their merge. */
async function played(target: IssuingRouter, flags: readonly string[]) {
  const url = `http://127.0.0.1:${target.port}`;
  const shards = await Promise.all(
    SHARDS.map((at) => replay(capture, url, ['--json', ...flags, '--shard', `${at}/${SHARDS.length}`])),
  );
  const out = join(temporaryDirectory(), 'merged');
  const merged = await runReprise(['merge', ...shards.map((run) => run.out), '--out', out, '--json']);
  expect(merged.stdout, merged.stderr).not.toBe('');
  return { shards: shards.map(documentOf), merged: JSON.parse(merged.stdout) as ReplayDocument };
}
const codesOf = ({ reasons }: ReplayDocument) => reasons.map(({ code }) => code);

describe('sessions with live values in three shards', () => {
  it('are never split, name no unknown id, and are merged with the counts of all', async () => {
    const target = await new IssuingRouter().listen();
    const { shards, merged } = await played(target, ['--multiplier', '2']);
    target.close();
    expect(target.unknown).toEqual([]);
    expect(target.runsBySession.map((runs) => runs.length)).toEqual(new Array(2 * SESSIONS).fill(1));
    expect(new Set(target.runsBySession.flat()).size).toBe(SHARDS.length);
    expect(merged).toMatchObject({ scaling: 'amplify', sent: 2 * production.answers.length, failed: 0 });
    const linked = shards.map(({ sessionOrder }) => sessionOrder?.values?.linked ?? 0);
    expect(Math.min(...linked)).toBeGreaterThan(0);
    expect(merged.sessionOrder?.values).toMatchObject({
      linked: linked.reduce((sum, count) => sum + count),
      diverged: 0,
      skipped: 0,
    });
  });

  it('do not pass for twice the load where a slow target got less', async () => {
    const target = await new IssuingRouter().listen();
    target.delayMs = () => 1_000;
    const { shards, merged } = await played(target, ['--multiplier', '2']);
    target.close();
    for (const document of [...shards, merged]) {
      expect(document.effectiveMultiplier).toBeLessThan(1.5);
      expect(codesOf(document)).toContain('multiplier_not_reached');
    }
  });
});
