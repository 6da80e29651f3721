import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { Agent, IssuingRouter } from '../support/issuing-router.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let production: IssuingRouter;
let target: IssuingRouter;
beforeEach(async () => {
  production = await new IssuingRouter().listen();
  target = await new IssuingRouter().listen();
});
afterEach(() => {
  production.close();
  target.close();
});

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

async function replay(capture: string, ...flags: string[]): Promise<ReplayDocument> {
  const args = ['replay', capture, '--target', `http://127.0.0.1:${target.port}`, '--json', ...flags];
  const out = ['--out', `${temporaryDirectory()}/run`];
  const { stdout, stderr } = await runCommand([...args, ...out]);
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout) as ReplayDocument;
}

describe('a replay of sessions with values that the server issues', () => {
  it('sends those of the target in bodies, headers, cookies, paths and forms', async () => {
    const capture = await recorded(12);
    const { sent, sessionOrder } = await replay(capture);
    expect(target.unknown).toEqual([]);
    expect(target.answers.length).toBe(sent);
    expect(sent).toBe(production.answers.length);
    expect(target.cancelled.size).toBe(12);
    expect(sessionOrder?.values).toMatchObject({ linked: 12 * 8, diverged: 0, skipped: 0, unissued: 0 });
  });
});
void openCapture;
