import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SHOW_OPTIONS, show } from '../../src/app/show.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import { shownSchema } from '../../src/documents/shown.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { ACME_MESSAGE, ACME_SET } from '../support/descriptor-set.ts';
import { exchangeOf, TEST_EPOCH_US, wholeBody } from '../support/exchanges.ts';
import { exported } from '../support/export-scene.ts';
import { callHead, grpcExchange, grpcMessage } from '../support/grpc.ts';
import { joined, text } from '../support/protobuf-writer.ts';
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
        { offsetMs: 0.01, bytes: 5, compressed: false, json: null },
        { offsetMs: 0.9, bytes: 15, compressed: true, json: null },
      ],
      end: 'whole',
    });
    expect(call?.payload?.response).toMatchObject({
      messages: { list: [{ offsetMs: 4, bytes: 1, compressed: false, json: null }] },
      trailers: 'grpc-status: 14\r\ngrpc-message: model is loading\r\n',
    });
    const { stdout } = await runCommand(['show', capture, '1', '--payload']);
    expect(stdout).toMatch(/gRPC +UNAVAILABLE, request 2 messages, response 1 message/);
    expect(stdout).toMatch(/message 2 +0\.900 ms +15 bytes, compressed/);
    expect(stdout).toContain('grpc-message: model is loading');
  });

  test('has its messages as JSON, by the known services or by a descriptor set', async () => {
    const request = (path: string, content: Buffer) => ({
      head: callHead(path),
      redacted: [],
      body: wholeBody(grpcMessage(content)),
      trailers: null,
    });
    const infer = joined(text(1, 'ranker'), text(99, 'later'));
    const calls = captureOf([
      grpcExchange({ request: request('/inference.GRPCInferenceService/ModelInfer', infer) }),
      grpcExchange({ arrivalUs: TEST_EPOCH_US + 1, request: request('/acme.v1.Oracle/Ask', ACME_MESSAGE) }),
    ]);
    const file = join(temporaryDirectory(), 'acme.pb');
    writeFileSync(file, ACME_SET);
    const jsonOf = async (id: string, ...more: string[]) => {
      const { stdout } = await runCommand(['show', calls, id, '--payload', '--json', ...more]);
      return JSON.parse(stdout).requests[0].payload.request.messages.list[0].json;
    };
    expect(await jsonOf('1')).toEqual({ model_name: 'ranker', '99': { bytes: 5 } });
    expect(Object.keys(await jsonOf('2'))).toEqual(['1', '2', '3', '4', '5', '7', '8']);
    expect(await jsonOf('2', '--proto', file)).toMatchObject({ user_id: 'ü-7', mode: 'FAST' });
    const { stdout } = await runCommand(['show', calls, '1', '--payload']);
    expect(stdout).toContain('{"99":{"bytes":5},"model_name":"ranker"}');
    writeFileSync(file, 'syntax = "proto3";');
    const refused = await runCommand(['show', calls, '2', '--payload', '--proto', file]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain(file);
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
