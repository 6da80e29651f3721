import { EventEmitter, once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseRequestHead } from '../../src/core/headers.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const EVENTS = [
  { choices: [{ delta: { role: 'assistant', content: '' } }] },
  { choices: [{ delta: { content: 'Hi' } }] },
  { choices: [], usage: { prompt_tokens: 11, completion_tokens: 1 } },
].map((event) => `data: ${JSON.stringify(event)}\n\n`);

/** Told by a client that has what was sent so far: the next event is on its way only then. */
const arrived = new EventEmitter().setMaxListeners(0);

/** A model server that streams one word, and answers probes. */
function modelServer(): Server {
  return createServer((incoming, outgoing) => {
    incoming.resume().on('end', async () => {
      if (incoming.method === 'GET') return void outgoing.end('ok');
      const id = String(incoming.headers['x-request']);
      outgoing.setHeader('Content-Type', 'text/event-stream');
      for (const event of EVENTS) {
        outgoing.write(event);
        await once(arrived, id);
        await setTimeout(5);
      }
      outgoing.end('data: [DONE]\n\n');
    });
  });
}

let server: Server;

beforeEach(async () => {
  server = modelServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => server.close());

async function ask(
  port: number,
  path: string,
  headers: Record<string, string>,
  body?: object,
): Promise<number> {
  const method = body === undefined ? 'GET' : 'POST';
  const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: false });
  asked.end(body === undefined ? undefined : JSON.stringify(body));
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  answer.on('data', () => arrived.emit(String(headers['X-Request'])));
  await once(answer, 'end');
  return answer.statusCode ?? 0;
}

/** Asks for each session twice and for a probe, through a recorder with these flags. */
async function record(directory: string, sessions: readonly string[], flags: readonly string[]) {
  const recording = await startRecording((server.address() as AddressInfo).port, directory, flags);
  const chat = { model: 'llama', messages: [{ role: 'user', content: 'hello' }], stream: true };
  expect(await ask(recording.port, '/healthz', {})).toBe(200);
  await Promise.all(
    [...sessions, ...sessions].map((session, index) => {
      const headers = {
        'X-Session-Id': session,
        'X-Request': `${directory} ${index}`,
        'X-Forwarded-For': '203.0.113.9, 10.0.0.1',
      };
      return ask(recording.port, '/v1/chat/completions', headers, chat);
    }),
  );
  const { end } = await recording.stop();
  const capture = openCapture(directory);
  const rows = [...capture.rows()];
  const heads = rows.map((row) => parseRequestHead(capture.payload(row)?.request?.head ?? new Uint8Array(0)));
  capture.close();
  const inspected = await runCommand(['inspect', directory, '--json']);
  return { end, rows, heads, document: JSON.parse(inspected.stdout) };
}

describe('reprise record', () => {
  it('leaves probes out and fills in who, what and how fast, with no body of a response kept', async () => {
    const { end, rows, heads, document } = await record(
      temporaryDirectory(),
      ['alpha-conversation', 'beta'],
      ['--identify-session', 'x-session-id'],
    );
    expect(rows).toHaveLength(4);
    for (const row of rows) {
      expect(row).toMatchObject({
        model: 'llama',
        streamed: true,
        promptTokens: 11,
        outputTokens: 1,
        batch: 1,
      });
      const { firstByteOffsetUs, firstTokenOffsetUs, lastByteOffsetUs } = row;
      // The role came first, the word 5 ms after it, the counts and the end 5 ms later each.
      expect(Number(firstTokenOffsetUs) - Number(firstByteOffsetUs)).toBeGreaterThan(3_000);
      expect(Number(lastByteOffsetUs) - Number(firstTokenOffsetUs)).toBeGreaterThan(3_000);
    }
    const hex = (bytes: Uint8Array | null): string => Buffer.from(bytes ?? []).toString('hex');
    expect(new Set(rows.map(({ session }) => hex(session))).size).toBe(2);
    expect(new Set(rows.map(({ client }) => hex(client))).size).toBe(1);
    const stored = heads.map(({ headers }) => headers.find(([name]) => name === 'X-Session-Id')?.[1]);
    expect(new Set(stored).size).toBe(2);
    expect(stored.join()).not.toMatch(/alpha|beta/);
    expect(stored.map((text) => text?.length).sort()).toEqual([18, 18, 4, 4].sort());
    expect(end['omitted']).toMatchObject({ skip_rule: { turns: 1 } });
    expect(document).toMatchObject({
      exchanges: 4,
      omitted: { exchanges: 1, byCause: { skip_rule: { exchanges: 1 } } },
      unexplained: 0,
    });
  });

  it('records the same sessions, whole, in recorders that share a key, and counts the rest', async () => {
    const sessions = Array.from({ length: 12 }, (_, index) => `session-${index}`);
    const [first, second] = [temporaryDirectory(), temporaryDirectory()];
    const key = `${first}.key`;
    const flags = [
      '--identify-session',
      'header:x-session-id',
      '--sample',
      '50%',
      '--skip',
      'none',
      '--hash-key-file',
      key,
    ];
    writeFileSync(key, Buffer.alloc(32, 9), { mode: 0o600 });
    const [one, other] = await Promise.all([record(first, sessions, flags), record(second, sessions, flags)]);
    const recorded = ({ rows }: typeof one): Map<string, number> => {
      const counts = new Map<string, number>();
      for (const { session } of rows) {
        if (session === null) continue;
        const name = Buffer.from(session).toString('hex');
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
      return new Map([...counts].sort());
    };
    const kept = recorded(one);
    expect(recorded(other)).toEqual(kept);
    expect(new Set(kept.values())).toEqual(new Set([2]));
    expect(kept.size).toBeGreaterThan(0);
    expect(kept.size).toBeLessThan(12);
    for (const { end, rows, document } of [one, other]) {
      const { omitted, exchanges } = document;
      expect(exchanges + omitted.byCause.sampled_out.exchanges).toBe(25);
      expect(document.coverage).toBeCloseTo(exchanges / 25);
      expect(rows).toHaveLength(exchanges);
      expect([end['lost'], end['pending']]).toEqual([{}, { bytes: 0, turns: 0 }]);
    }
  });
});
