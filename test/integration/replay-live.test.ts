import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { capacityPlanDocument, planCapacity } from '../../src/app/capacity/plan.ts';
import { openForReplay } from '../../src/app/open-capture.ts';
import { resolveStatementOptions, STATEMENT_OPTIONS } from '../../src/app/statement/options.ts';
import { planStatement, runOf } from '../../src/app/statement/plan.ts';
import { byProgram } from '../../src/core/options.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import type { ReplayPlanDocument } from '../../src/documents/replay-plan.ts';
import { runCommand } from '../support/command-here.ts';
import { Agent, IssuingRouter } from '../support/issuing-router.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SESSIONS = 6;
let production: IssuingRouter;
let target: IssuingRouter;
let capture: string;
beforeAll(async () => {
  production = await new IssuingRouter().listen();
  capture = await recorded(SESSIONS);
});
afterAll(() => production.close());
beforeEach(async () => {
  target = await new IssuingRouter().listen();
});
afterEach(() => target.close());

/** Turns, a cancelled stream, and two branches that need only the first answer. */
async function converse(port: number, session: string): Promise<void> {
  const agent = new Agent(port, session);
  const first = await agent.turn(null, []);
  const file = await agent.upload(null);
  await agent.upload(file);
  const second = await agent.turn(first.id, first.calls);
  const branches = await Promise.all([agent.turn(second.id, second.calls), agent.turn(second.id, [])]);
  const stream = await agent.cancelledTurn(branches[0]!.id);
  await agent.turn(stream.id, stream.calls);
}

async function recorded(sessions: number, gapMs = 30): Promise<string> {
  const directory = `${temporaryDirectory()}/capture`;
  const recording = await startRecording(production.port, directory, ['--identify-session', 'x-session-id']);
  const agents: Promise<void>[] = [];
  for (let session = 0; session < sessions; session += 1) {
    agents.push(converse(recording.port, `session ${session}`));
    await sleep(gapMs);
  }
  await Promise.all(agents);
  expect((await recording.stop()).status).toBe(0);
  expect(production.unknown).toEqual([]);
  return directory;
}

async function replay(...flags: string[]): Promise<ReplayDocument> {
  const args = ['replay', capture, '--target', `http://127.0.0.1:${target.port}`, '--json', ...flags];
  const out = ['--out', `${temporaryDirectory()}/run`];
  const { stdout, stderr } = await runCommand([...args, ...out]);
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout) as ReplayDocument;
}

describe('a replay of sessions with values that the server issues', () => {
  it('sends those of the target in bodies, headers, cookies, paths and forms', async () => {
    const { sent, sessionOrder } = await replay();
    expect(target.unknown).toEqual([]);
    expect(target.answers.length).toBe(sent);
    expect(sent).toBe(production.answers.length);
    expect(target.cancelled.size).toBe(SESSIONS);
    expect(sessionOrder?.values).toMatchObject({
      linked: SESSIONS * 8,
      diverged: 0,
      skipped: 0,
      unissued: 0,
    });
  });

  it('gives each copy values of its own, also where it goes on from an earlier response', async () => {
    for (const scaling of ['amplify', 'compress']) {
      // With links, copies are the default above 1x.
      const given = scaling === 'amplify' ? [] : ['--scaling', scaling];
      const { sent, audit, ...run } = await replay('--multiplier', '2', ...given);
      expect(run.scaling).toBe(scaling);
      expect(target.unknown).toEqual([]);
      expect(audit?.unreplayableByReason).toEqual({});
      expect(sent).toBe((scaling === 'amplify' ? 2 : 1) * production.answers.length);
    }
  });

  it('waits for the answers that a request needs, and for no others', async () => {
    // Both branches leave when the second turn is answered, though the first of them takes long.
    target.delayMs = (body) => (body.includes('previous_response_id') && body.includes('call_id') ? 700 : 5);
    const { sessionOrder, fidelity } = await replay();
    expect(target.unknown).toEqual([]);
    expect(fidelity.waitsFor).toBe('values');
    expect(sessionOrder?.values?.waited).toBeGreaterThan(0);
    expect(fidelity.dueInTime).toBeLessThan(fidelity.planned.count);
  });

  it.each([
    ['recorded', 0],
    ['skip', 2],
    ['end-session', 2],
  ])('counts answers without such values, and goes on by the rule: %s', async (rule, least) => {
    target.callsTools = false;
    const document = await replay('--session-order', `on-divergence=${rule}`);
    const values = document.sessionOrder?.values;
    expect(values?.diverged).toBeGreaterThan(0);
    expect(document.reasons.map(({ code }) => code)).toContain('diverged');
    expect(values?.skipped ?? 0).toBeGreaterThanOrEqual(least);
    expect(document.sent + (values?.skipped ?? 0)).toBe(production.answers.length);
    expect(target.unknown.length > 0).toBe(rule === 'recorded');
  });

  it('sends recorded values if asked to', async () => {
    const { sessionOrder, fidelity } = await replay('--session-order', 'values=recorded');
    expect([sessionOrder?.values ?? null, fidelity.waitsFor ?? null]).toEqual([null, null]);
    expect(target.unknown.length).toBeGreaterThan(0);
  });

  it('foretells in the plan how many requests will wait', async () => {
    const { stdout } = await runCommand([
      'replay',
      capture,
      '--dry-run',
      '--multiplier',
      '8',
      '--scaling',
      'compress',
      '--json',
    ]);
    const { values, payloads } = JSON.parse(stdout) as ReplayPlanDocument;
    expect(values).toMatchObject({ linked: SESSIONS * 8, unissued: 0 });
    expect(values?.willWait).toBeGreaterThan(SESSIONS);
    expect(payloads.found.server_issued_id).toBe(0);
    const copied = await runCommand(['replay', capture, '--dry-run', '--multiplier', '2', '--json']);
    const plan = JSON.parse(copied.stdout) as ReplayPlanDocument;
    expect([plan.scaling, plan.values?.linked]).toEqual(['amplify', 2 * SESSIONS * 8]);
    expect(plan.payloads.unreplayableByReason).toEqual({});
  });

  it.each([
    [{}, 'amplify'],
    [{ scaling: 'compress' }, 'compress'],
  ])('more load of a search and of a statement is more sessions (%j)', async (given, expected) => {
    const opened = openForReplay(capture, null);
    const stated = { target: `http://127.0.0.1:${target.port}`, slo: ['latency: p(50)<500'], ...given };
    const asked = resolveStatementOptions(byProgram(STATEMENT_OPTIONS, stated));
    const { options } = await planStatement(opened, asked);
    const { scaling } = capacityPlanDocument(planCapacity(opened, asked.search));
    opened.source.close();
    const scalings = (['recorded', 'multiplied', 'spike'] as const).map(
      (part) => runOf(options, { part, lengthS: 10 }, []).options.scaling,
    );
    expect([scaling, ...scalings]).toEqual([expected, 'compress', expected, expected]);
  });
});
