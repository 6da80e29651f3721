import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProfileDocument } from '../../src/documents/profile.ts';
import type { ShownDocument } from '../../src/documents/shown.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const issued = (prefix = ''): string => prefix + randomBytes(18).toString('base64url');

/** A router before a server of responses: a session token, a cookie, ids of responses and calls, and a path to cancel. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const piece of request) body += String(piece);
  const headers: Record<string, string> = {
    'x-session-token': String(request.headers['x-session-token'] ?? issued()),
  };
  if (request.headers.cookie === undefined) headers['set-cookie'] = `route=${issued()}; Path=/; HttpOnly`;
  if (request.url?.endsWith('/cancel')) return void response.writeHead(200, headers).end('{}');
  const id = issued('resp_');
  const call = () => ({
    type: 'function_call',
    id: issued('fc_'),
    call_id: issued('call_'),
    name: 'get_weather',
  });
  if (!body.includes('"stream":true')) {
    response.writeHead(200, { ...headers, 'content-type': 'application/json' });
    response.end(
      JSON.stringify({ id, object: 'response', model: 'm', output: [{ ...call(), arguments: '{}' }] }),
    );
    return;
  }
  response.writeHead(200, { ...headers, 'content-type': 'text/event-stream' });
  const event = (type: string, data: object) =>
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
  event('response.created', { response: { id } });
  // The rest comes when the client has sent its request to cancel.
  cancelled.set(id, () => {
    for (let at = 0; at < 2; at += 1) event('response.output_item.added', { item: call() });
    response.end();
  });
}
const cancelled = new Map<string, () => void>();

let server: Server;
beforeEach(async () => {
  server = createServer((request, response) => void answer(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Two turns with tools: a whole answer, then a stream that is cancelled by its id, then a last request. */
async function converse(base: string, session: string): Promise<void> {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'x-session-id': session };
  const ask = async (path: string, body: object) => {
    const response = await fetch(`${base}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    headers['x-session-token'] = response.headers.get('x-session-token') ?? '';
    headers['cookie'] ??= response.headers.get('set-cookie')?.split(';')[0] ?? '';
    return response;
  };
  const result = (call_id: string) => ({ type: 'function_call_output', call_id, output: '12 degrees' });
  const whole = await ask('/v1/responses', { model: 'm', input: 'The weather?' });
  const first = (await whole.json()) as { id: string; output: [{ call_id: string }] };
  const stream = await ask('/v1/responses', {
    model: 'm',
    stream: true,
    input: [result(first.output[0].call_id)],
    previous_response_id: first.id,
  });
  let text = '';
  let id = '';
  for await (const piece of stream.body ?? []) {
    text += Buffer.from(piece).toString();
    const found = /"id":"(resp_[^"]+)"/.exec(text)?.[1];
    if (found === undefined || id !== '') continue;
    id = found;
    await (await ask(`/v1/responses/${id}/cancel`, {})).text();
    cancelled.get(id)?.();
  }
  const calls = [...text.matchAll(/"call_id":"([^"]+)"/g)].map(([, call = '']) => result(call));
  await (await ask('/v1/responses', { model: 'm', input: calls, previous_response_id: id })).text();
}

const EXPECTED = [
  [],
  [
    'header x-session-token from header x-session-token of 1',
    'cookie route from cookie route of 1',
    'json /input/0/call_id from json /output/0/call_id of 1',
    'json /previous_response_id from json /id of 1',
  ],
  [
    'path segment 3 from event response.created /response/id of 2',
    'header x-session-token from header x-session-token of 1',
    'cookie route from cookie route of 1',
  ],
  [
    'header x-session-token from header x-session-token of 1',
    'cookie route from cookie route of 1',
    'json /input/0/call_id from event response.output_item.added /item/call_id of 2',
    'json /input/1/call_id from event response.output_item.added /item/call_id (value 2) of 2',
    'json /previous_response_id from event response.created /response/id of 2',
  ],
];

describe('links of a recording', () => {
  it('are found by default, masked values and answers that are not kept included, and shown without any value', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const { port } = server.address() as AddressInfo;
    const recording = await startRecording(port, directory, ['--identify-session', 'x-session-id']);
    for (const session of ['one', 'two']) await converse(`http://127.0.0.1:${recording.port}`, session);
    expect((await recording.stop()).status).toBe(0);

    const reader = openCapture(directory);
    const rows = [...reader.rows()];
    reader.close();
    expect(rows.map(({ links }) => links)).toEqual([0, 4, 3, 5, 0, 4, 3, 5]);
    const shown = await runCommand(['show', directory, ...rows.map(({ id }) => String(id)), '--json']);
    const { requests } = JSON.parse(shown.stdout) as ShownDocument;
    const ids = requests.map(({ exchange }) => exchange);
    const found = requests.map(({ links = [] }, at) =>
      links.map(
        ({ from, place, to }) => `${to} from ${place} of ${ids.indexOf(from ?? '') + 1 - (at < 4 ? 0 : 4)}`,
      ),
    );
    expect(found).toEqual([...EXPECTED, ...EXPECTED]);
    const profile = await runCommand(['profile', directory, '--json']);
    expect((JSON.parse(profile.stdout) as ProfileDocument).links).toMatchObject({
      requests: 8,
      linked: 6,
      links: 24,
    });
    expect(JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout).mix).toMatchObject({
      searched: 8,
      linked: 6,
    });
  });
});
