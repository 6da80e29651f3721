import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { runCommand } from '../support/command-here.ts';
import { Agent, IssuingRouter } from '../support/issuing-router.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const AGENTS = 200;
let production: IssuingRouter;
let capture: string;

/** 3 to 40 turns with tool calls; some turns branch, some are cancelled by their id. */
async function converse(port: number, at: number): Promise<void> {
  const agent = new Agent(port, `agent ${at}`);
  const turns = 3 + ((at * 17) % 38);
  let last = await agent.turn(null, []);
  for (let turn = 1; turn < turns; turn += 1) {
    if (turn % 7 === 3) last = await agent.cancelledTurn(last.id);
    else if (turn % 5 === 2) {
      const branches = [
        agent.turn(last.id, last.calls),
        agent.turn(last.id, []),
        agent.turn(last.id, last.calls),
      ];
      last = (await Promise.all(branches))[turn % 3]!;
    } else last = await agent.turn(last.id, last.calls);
    await sleep(15);
  }
}

beforeAll(async () => {
  production = await new IssuingRouter().listen();
  capture = `${temporaryDirectory()}/capture`;
  const recording = await startRecording(production.port, capture, ['--identify-session', 'x-session-id']);
  const agents: Promise<void>[] = [];
  for (let at = 0; at < AGENTS; at += 1) {
    agents.push(converse(recording.port, at));
    await sleep(50);
  }
  await Promise.all(agents);
  expect((await recording.stop()).status).toBe(0);
  expect(production.unknown).toEqual([]);
});
afterAll(() => production.close());

async function replay(target: IssuingRouter, flags: readonly string[]): Promise<ReplayDocument> {
  const args = ['replay', capture, '--target', `http://127.0.0.1:${target.port}`, '--json', ...flags];
  const { stdout, stderr } = await runCommand([...args, '--out', `${temporaryDirectory()}/run`]);
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout) as ReplayDocument;
}

describe('200 recorded sessions of agents', () => {
  it.each([
    ['1', 'compress', 1],
    ['2', 'amplify', 2],
    ['2', 'compress', 1],
  ])('at %sx by %s name no id that the target did not issue', async (multiplier, scaling, times) => {
    const target = await new IssuingRouter().listen();
    const document = await replay(target, ['--multiplier', multiplier, '--scaling', scaling]);
    target.close();
    expect(target.unknown).toEqual([]);
    expect(document).toMatchObject({ sent: times * production.answers.length, failed: 0 });
    expect(target.cancelled.size).toBe(times * production.cancelled.size);
    expect(document.sessionOrder?.values).toMatchObject({
      diverged: 0,
      skipped: 0,
      unissued: 0,
      forgotten: 0,
    });
  });

  it('hit the caches of the servers as they did when they were recorded, which recorded tokens do not', async () => {
    const hits = async (values: string): Promise<number> => {
      const target = await new IssuingRouter().listen();
      target.refuses = false;
      await replay(target, ['--session-order', `values=${values}`]);
      target.close();
      return target.caches.hitShare;
    };
    const recorded = production.caches.hitShare;
    expect(recorded).toBeGreaterThan(0.5);
    expect(Math.abs((await hits('live')) - recorded)).toBeLessThan(0.03);
    expect(Math.abs((await hits('recorded')) - recorded)).toBeGreaterThan(0.05);
  });

  it('never pass at 2x if a slow target got less than twice the load', async () => {
    const latency = fc.record({
      ms: fc.integer({ min: 1, max: 1_200 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(latency, fc.constantFrom('amplify', 'compress'), async ({ ms, share }, scaling) => {
        const target = await new IssuingRouter().listen();
        let asked = 0;
        const arrivedMs: number[] = [];
        target.delayMs = () => {
          arrivedMs.push(performance.now());
          return (asked++ * 0.618) % 1 < share ? ms : 2;
        };
        const flags = ['--multiplier', '2', '--scaling', scaling, '--slo', 'errors: rate<0.5'];
        const { verdict, fidelity } = await replay(target, [...flags, '--confidence', 'point']);
        target.close();
        if (verdict !== 'PASS') return;
        // What the target itself counted until the end of the plan, and half a second for a late generator.
        const untilMs = arrivedMs[0]! + fidelity.planned.spanS * 1e3 + 500;
        const inTime = arrivedMs.filter((at) => at <= untilMs).length;
        expect(inTime / fidelity.planned.count).toBeGreaterThanOrEqual(0.98);
      }),
      { numRuns: 3, endOnFailure: true },
    );
  });
});
