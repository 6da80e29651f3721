import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { IssuingRouter } from '../support/issuing-router.ts';
import { needing } from '../support/peer-run.ts';
import { npmPackages } from '../support/peer-tools.ts';
import { runProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Sessions of OpenAI's own client by its Responses API: tool calls, a branch, and a stream that is cancelled by its id. */
const CLIENT = `
import { createRequire } from 'node:module';
const { OpenAI } = createRequire(process.argv[2] + '/')('openai');
async function converse(session) {
  const kept = { 'x-session-id': session };
  const client = new OpenAI({ baseURL: process.argv[3] + '/v1', apiKey: 'none', maxRetries: 0, fetch: async (url, init) => {
    const headers = new Headers(init.headers);
    for (const [name, value] of Object.entries(kept)) headers.set(name, value);
    const response = await fetch(url, { ...init, headers });
    kept['x-session-token'] ??= response.headers.get('x-session-token');
    kept.cookie ??= response.headers.get('set-cookie').split(';')[0];
    return response;
  } });
  const turn = (last, more = {}) => client.responses.create({
    model: 'm', ...(last === null ? {} : { previous_response_id: last.id }),
    input: last === null ? 'What is new?' : last.output.map(({ call_id }) => ({ type: 'function_call_output', call_id, output: 'done' })),
    ...more,
  });
  let last = await turn(null);
  for (let at = 0; at < 4; at += 1) {
    const [one] = await Promise.all([turn(last), turn(last, { input: 'And else?' })]);
    let id = null;
    const calls = [];
    for await (const event of await turn(one, { stream: true })) {
      if (event.type === 'response.created') {
        id = event.response.id;
        await client.responses.cancel(id);
      } else if (event.type === 'response.output_item.added') calls.push(event.item);
    }
    last = await turn({ id, output: calls });
  }
}
await Promise.all(Array.from({ length: 12 }, (_, at) => converse('session ' + at)));
`;

needing(
  npmPackages(['openai@7.59.0']),
  'sessions of the OpenAI client are replayed with the ids, calls, tokens and cookies that the target issues',
  async (sdk) => {
    const [folder, production] = [temporaryDirectory(), await new IssuingRouter().listen()];
    const [client, capture] = [join(folder, 'client.mjs'), join(folder, 'capture')];
    writeFileSync(client, CLIENT);
    const recording = await startRecording(production.port, capture, ['--identify-session', 'x-session-id']);
    const base = `http://127.0.0.1:${recording.port}`;
    const { status, stderr } = await runProcess(process.execPath, [client, sdk, base]);
    expect(status, stderr).toBe(0);
    expect((await recording.stop()).status).toBe(0);
    production.close();
    expect([production.unknown, production.cancelled.size]).toEqual([[], 48]);
    for (const multiplier of [1, 2]) {
      const target = await new IssuingRouter().listen();
      const args = ['--json', '--multiplier', `${multiplier}`];
      const document = documentOf(await replay(capture, `http://127.0.0.1:${target.port}`, args));
      target.close();
      expect(target.unknown).toEqual([]);
      expect(document).toMatchObject({ sent: multiplier * production.answers.length, failed: 0 });
      expect(document.sessionOrder?.values).toMatchObject({ diverged: 0, unissued: 0, forgotten: 0 });
      expect(target.cancelled.size).toBe(multiplier * production.cancelled.size);
      const { hitShare } = target.caches;
      if (multiplier === 1) expect(Math.abs(hitShare - production.caches.hitShare)).toBeLessThan(0.03);
    }
  },
);
