import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SHOW_OPTIONS, show } from '../../src/app/show.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import { shownSchema } from '../../src/documents/shown.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { exported } from '../support/export-scene.ts';
import { grpcExchange } from '../support/grpc.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const capture = captureOf([
  grpcExchange(),
  exchangeOf({ arrivalUs: TEST_EPOCH_US + 1 }),
  grpcExchange({ arrivalUs: TEST_EPOCH_US + 2, status: 200, grpcStatus: 0 }),
  grpcExchange({
    arrivalUs: TEST_EPOCH_US + 3,
    status: null,
    grpcStatus: null,
    outcome: 'upstream_failed',
    responseMessages: 0,
    response: null,
  }),
]);

const shown = (ids: readonly string[], options = {}) =>
  show(capture, ids, resolveOptions(SHOW_OPTIONS, byProgram(SHOW_OPTIONS, options)));

describe('a gRPC call of a capture', () => {
  test('is shown with its status by name, its messages and its trailers', async () => {
    const document = shown(['1'], { payload: true });
    expect(shownSchema.parse(document)).toEqual(document);
    const [call] = document.requests;
    expect(call).toMatchObject({
      status: 503,
      failed: true,
      grpc: { status: 'UNAVAILABLE', requestMessages: 2, responseMessages: 1 },
    });
    expect(call?.payload?.request?.messages).toEqual({
      list: [
        { offsetMs: 0.01, bytes: 5, compressed: false },
        { offsetMs: 0.9, bytes: 15, compressed: true },
      ],
      end: 'whole',
    });
    expect(call?.payload?.response).toMatchObject({
      messages: { list: [{ offsetMs: 4, bytes: 1, compressed: false }] },
      trailers: 'grpc-status: 14\r\ngrpc-message: model is loading\r\n',
    });
    const { stdout } = await runCommand(['show', capture, '1', '--payload']);
    expect(stdout).toMatch(/gRPC +UNAVAILABLE, request 2 messages, response 1 message/);
    expect(stdout).toMatch(/message 2 +0\.900 ms +15 bytes, compressed/);
    expect(stdout).toContain('grpc-message: model is loading');
  });

  test('is told from other exchanges, and from one that ended without a status', () => {
    const { requests } = shown([]);
    expect(requests.map(({ grpc }) => grpc?.status)).toEqual(['UNAVAILABLE', undefined, 'OK', null]);
  });

  test('is counted by its status', async () => {
    const { stdout } = await runCommand(['inspect', capture, '--json']);
    expect(JSON.parse(stdout).mix.grpcStatuses).toEqual([
      { name: 'OK', exchanges: 1 },
      { name: 'UNAVAILABLE', exchanges: 1 },
    ]);
    expect((await runCommand(['inspect', capture])).stdout).toMatch(/gRPC statuses +1 +OK/);
  });

  test('is a row of a table, an entry of an archive, and left out of what a tool would send as HTTP/1.1', async () => {
    const out = join(temporaryDirectory(), 'rows.csv');
    await runCommand(['export', 'csv', capture, '--out', out]);
    const [names = '', ...lines] = readFileSync(out, 'utf8').trim().split('\n');
    const columns = ['protocol', 'status', 'grpc_status', 'req_messages', 'resp_messages'].map((name) =>
      names.split(',').indexOf(name),
    );
    expect(lines.map((line) => columns.map((at) => line.split(',')[at]).join())).toEqual([
      'h2,503,14,2,1',
      'http/1.1,200,,,',
      'h2,200,0,2,1',
      'h2,,,2,0',
    ]);
    const har = await exported('har', capture);
    const { entries } = JSON.parse(readFileSync(har.out, 'utf8')).log;
    expect(entries.map(({ request }: { request: { httpVersion: string } }) => request.httpVersion)).toEqual([
      'HTTP/2',
      'HTTP/1.1',
      'HTTP/2',
      'HTTP/2',
    ]);
    const { document } = await exported('vegeta', capture, '--target', 'http://127.0.0.1:9');
    expect(document).toMatchObject({ exported: 1, lost: { 'a gRPC call: left out': 3 } });
  });
});
