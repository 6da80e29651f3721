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
import { goPackage, npmPackages, pythonWith, type Tool } from '../support/peer-tools.ts';
import { RunningProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROGRAMS = join(repositoryRoot, 'test', 'peers', 'programs');
const PROGRAM = join(PROGRAMS, 'grpc_calls.py');
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

/** A program of a client and its arguments without the port. */
type Client = readonly [string, ...string[]];

async function callsTo([command, ...args]: Client, port: number): Promise<Map<string, Call>> {
  const { status, said, stdout } = await runPeer(command, [...args, `${port}`]);
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

/** Makes the calls of a client without the recorder, with it, and by a replay of what it recorded. */
async function compared(python: string, client: Client) {
  const alone = await startServer(python);
  const expected = await callsTo(client, alone.port);
  const expectedOfServer = await alone.end();

  const server = await startServer(python);
  const directory = join(temporaryDirectory(), 'capture');
  const bodies = 'all,max-request=80MiB,max-response=2MiB';
  const recording = await startRecording(server.port, directory, ['--bodies', bodies]);
  const calls = await callsTo(client, recording.port);
  const { status, end } = await recording.stop();
  expect(status).toBe(0);
  expect([...calls.values()].sort(byName)).toEqual([...expected.values()].sort(byName));
  const got = await server.end();
  expect(got).toEqual(expectedOfServer);

  const target = await startServer(python);
  const run = await replay(directory, `http://127.0.0.1:${target.port}`, ['--json']);
  return { directory, calls, got, end, document: documentOf(run), gotAgain: await target.end() };
}

/** Every message of a call is in the capture as the server and the client had it. */
function expectEqualMessages(
  name: string,
  { row, payload }: { row: ExchangeRow; payload: ExchangePayload },
  call: Call | undefined,
  got: Told | undefined,
): void {
  expect({ name, sent: toldIn(payload.request) }).toEqual({ name, sent: got ?? toldIn(payload.request) });
  expect(row).toMatchObject({ protocol: 'h2', requestTruncated: false });
  expect(row.requestMessages).toBe(payload.requestChunks.length / 2);
  if (LEFT.has(name)) return;
  expect({ name, answer: toldIn(payload.response) }).toEqual({ name, answer: call?.messages });
  expect(row).toMatchObject({ outcome: 'completed', responseMessages: call?.messages.length });
}

describe('grpcio', () => {
  needing(
    grpcio,
    'makes the same calls with and without the recorder, and every message is recorded and replayed',
    async (python) => {
      const { directory, calls, got, end, document, gotAgain } = await compared(python, [
        python,
        PROGRAM,
        'call',
      ]);
      // 64 MiB at once may be more than the queue to the recorder holds: then that call is lost, and counted.
      const isLargeLost = end['exchanges'] === calls.size - 1;
      const lost = isLargeLost ? { queue_bytes: expect.objectContaining({ exchanges: 1, turns: 1 }) } : {};
      expect(end).toMatchObject({ exchanges: calls.size - Number(isLargeLost) });
      expect(end['lost']).toEqual(lost);
      const isRecorded = (name: string) => name !== 'large' || !isLargeLost;

      const recorded = recordedCalls(directory);
      expect([...recorded.keys()].sort()).toEqual([...calls.keys()].filter(isRecorded).sort());
      for (const [name, each] of recorded) expectEqualMessages(name, each, calls.get(name), got[name]);
      expect(document).toMatchObject({ planned: calls.size, sent: calls.size, unreplayable: 0 });
      // A replay sends as many as were seen: a copy of another call in place of a lost one.
      const copied = Object.keys(gotAgain).filter(
        (name) => gotAgain[name]?.length === 2 && got[name]?.length === 1,
      );
      expect(copied).toHaveLength(Number(isLargeLost));
      const expected = Object.entries(got).flatMap(([name, messages]) => {
        const each = copied.includes(name) ? [...messages, ...messages] : messages;
        return isRecorded(name) ? [[name, each] as const] : [];
      });
      expect(gotAgain).toEqual(Object.fromEntries(expected));
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

const CLIENTS: readonly { name: string; tool: Tool; client: (path: string) => Client }[] = [
  { name: 'grpc-go', tool: goPackage(join(PROGRAMS, 'grpc_go')), client: (program) => [program] },
  {
    name: 'grpc-js',
    tool: npmPackages(['@grpc/grpc-js@1.14.7']),
    client: (modules) => [process.execPath, join(PROGRAMS, 'grpc_js.cjs'), modules],
  },
];

describe.each(CLIENTS)('$name', ({ tool, client }) => {
  needing(
    'missing' in grpcio ? grpcio : tool,
    'makes the same calls with and without the recorder, and every message is recorded and replayed',
    async (program) => {
      const python = 'path' in grpcio ? grpcio.path : '';
      const { directory, calls, got, end, document, gotAgain } = await compared(python, client(program));
      expect(end).toMatchObject({ exchanges: calls.size, lost: {} });
      const recorded = recordedCalls(directory);
      expect([...recorded.keys()].sort()).toEqual([...calls.keys()].sort());
      for (const [name, each] of recorded) expectEqualMessages(name, each, calls.get(name), got[name]);
      expect(recorded.get('cancelled')?.row).toMatchObject({ outcome: 'client_aborted', status: null });
      expect(gotAgain).toEqual(got);
      expect(document).toMatchObject({ planned: calls.size, sent: calls.size, unreplayable: 0 });
    },
    120_000,
  );
});

function byName(a: Call, b: Call): number {
  return a.call < b.call ? -1 : 1;
}
