import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect } from 'vitest';
import type { ExchangePayload, ExchangeRow, Message } from '../../src/core/exchange.ts';
import { headerPairsOf, headerValue } from '../../src/core/headers.ts';
import { grpcMessagesOf } from '../../src/inference/grpc.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { RunningProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROGRAM = join(repositoryRoot, 'test', 'peers', 'programs', 'grpc_calls.py');
const grpcio = pythonWith(['grpcio==1.85.1', 'grpcio-health-checking==1.85.1']);

/** Size and hash of each message. */
type Told = readonly (readonly [number, string])[];

interface Call {
  readonly call: string;
  readonly status: string;
  readonly messages: Told;
  readonly details?: string;
  readonly trailers?: readonly string[];
}

async function startServer(python: string) {
  const server = new RunningProcess(python, [PROGRAM, 'serve']);
  const [, port] = await server.waitFor('stdout', /^(\d+)\n/);
  return {
    port: Number(port),
    /** Ends it. @returns what it got of each call */
    end: async (): Promise<Readonly<Record<string, Told>>> => {
      const { stdout } = await server.kill('SIGTERM');
      return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
    },
  };
}

async function callsTo(python: string, port: number): Promise<Map<string, Call>> {
  const { status, said, stdout } = await runPeer(python, [PROGRAM, 'call', `${port}`]);
  expect(status, said).toBe(0);
  const calls = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Call);
  return new Map(calls.map((each) => [each.call, each]));
}

/** The messages of a stored body as their receiver got them. */
function toldIn(message: Message | null): Told {
  const body = Buffer.from(message?.body.kept ?? []);
  const { messages, end } = grpcMessagesOf(body);
  expect(end).toBe('whole');
  return messages.map(({ compressed, from, to }) => {
    const content = compressed ? gunzipSync(body.subarray(from, to)) : body.subarray(from, to);
    return [content.length, createHash('sha256').update(content).digest('hex').slice(0, 16)] as const;
  });
}

function recordedCalls(directory: string) {
  const reader = openCapture(directory);
  const calls = new Map<string, { row: ExchangeRow; payload: ExchangePayload }>();
  try {
    for (const row of reader.rows()) {
      const payload = reader.payload(row);
      const name = headerValue(headerPairsOf(payload?.request?.head ?? Buffer.alloc(0)), 'x-call');
      if (payload === null || name === null) throw new Error(`no call: ${row.route}`);
      const { request, response, requestChunks, responseChunks } = payload;
      calls.set(name, { row, payload: { request, response, requestChunks, responseChunks } });
    }
  } finally {
    reader.close();
  }
  return calls;
}

/** Calls that end by their client, of which the server may send more than the client reads. */
const LEFT = new Set(['deadline', 'cancelled']);
const ROUTE = 'POST /acme.v2.Everything';

describe('grpcio', () => {
  needing(
    grpcio,
    'makes the same calls with and without the recorder, and every message is recorded',
    async (python) => {
      const alone = await startServer(python);
      const expected = await callsTo(python, alone.port);
      const expectedOfServer = await alone.end();

      const server = await startServer(python);
      const directory = join(temporaryDirectory(), 'capture');
      const bodies = 'all,max-request=80MiB,max-response=2MiB';
      const recording = await startRecording(server.port, directory, ['--bodies', bodies]);
      const calls = await callsTo(python, recording.port);
      const { status, end } = await recording.stop();
      expect(status).toBe(0);
      // 64 MiB at once may be more than the queue to the recorder holds: then that call is lost, and counted.
      const isLargeLost = end['exchanges'] === expected.size - 1;
      const lost = isLargeLost ? { queue_bytes: expect.objectContaining({ exchanges: 1, turns: 1 }) } : {};
      expect(end).toMatchObject({ exchanges: expected.size - Number(isLargeLost) });
      expect(end['lost']).toEqual(lost);
      expect([...calls.values()].sort(byName)).toEqual([...expected.values()].sort(byName));
      const gotByServer = await server.end();
      expect(gotByServer).toEqual(expectedOfServer);

      const recorded = recordedCalls(directory);
      const isRecorded = (name: string) => name !== 'large' || !isLargeLost;
      expect([...recorded.keys()].sort()).toEqual([...calls.keys()].filter(isRecorded).sort());
      for (const [name, { row, payload }] of recorded) {
        const call = calls.get(name);
        expect({ name, sent: toldIn(payload.request) }).toEqual({
          name,
          sent: gotByServer[name] ?? toldIn(payload.request),
        });
        expect(row).toMatchObject({ protocol: 'h2', requestTruncated: false });
        expect(row.requestMessages).toBe(payload.requestChunks.length / 2);
        if (LEFT.has(name)) continue;
        expect({ name, answer: toldIn(payload.response) }).toEqual({ name, answer: call?.messages });
        expect(row).toMatchObject({ outcome: 'completed', responseMessages: call?.messages.length });
      }
      const rowOf = (name: string) => recorded.get(name)?.row;
      expect(rowOf('server-stream')).toMatchObject({
        route: `${ROUTE}/ServerStream`,
        streamed: true,
        responseMessages: 20,
        status: 200,
      });
      expect(rowOf('both')).toMatchObject({ requestMessages: 10, responseMessages: 10 });
      expect(rowOf('refused')).toMatchObject({ status: 429, grpcStatus: 8, responseMessages: 0 });
      expect(rowOf('unknown')).toMatchObject({ status: 501, grpcStatus: 12 });
      expect(rowOf('cancelled')).toMatchObject({ outcome: 'client_aborted', status: null });
      if (!isLargeLost) expect(rowOf('large')).toMatchObject({ requestBytes: 64 * 1024 * 1024 + 5 });
      // grpcio sends binary metadata as it is; a capture has it in base64.
      const trailers = recorded.get('unary')?.payload.response?.trailers;
      expect(Buffer.from(trailers ?? []).toString('latin1')).toContain('x-raw-bin: AP8=\r\n');
      // The server keeps the deadline too: whichever came first.
      const deadline = rowOf('deadline');
      expect(['timed_out null', 'completed 504']).toContain(`${deadline?.outcome} ${deadline?.status}`);
      const refused = recorded.get('refused')?.payload.response?.head;
      expect(Buffer.from(refused ?? []).toString('latin1')).toContain(
        'grpc-message: too many: 5 %25 at once',
      );

      const inspected = JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout);
      expect(inspected).toMatchObject({
        losses: { exchanges: Number(isLargeLost) },
        omitted: { byCause: { skip_rule: { exchanges: 1 } } },
        protocols: { h2: { connections: 4 } },
      });
    },
    120_000,
  );
});

function byName(a: Call, b: Call): number {
  return a.call < b.call ? -1 : 1;
}
