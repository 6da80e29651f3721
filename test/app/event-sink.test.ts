import { once } from 'node:events';
import { request } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { EventSink } from '../../src/app/import/import.ts';
import type { TextLine } from '../../src/formats/input.ts';

/** A sink that takes events, and what it has taken. */
async function startSink() {
  const { promise: listening, resolve } = Promise.withResolvers<string>();
  const sink = new EventSink({
    endpoint: { kind: 'tcp', host: '127.0.0.1', port: 0, tls: false },
    durationMs: 60_000,
    onListening: resolve,
  });
  const taken: TextLine[] = [];
  const stop = new AbortController();
  const ended = (async () => {
    for await (const lines of sink.lines(stop.signal)) taken.push(...lines);
  })().catch((error: unknown) => error);
  endings.push(() => stop.abort());
  return { sink, taken, stop, ended, address: `http://${await listening}/any` };
}

const endings: (() => void)[] = [];
afterEach(() => {
  for (const end of endings.splice(0)) end();
});

test('events come in binary and in structured mode, and nothing else is taken', async () => {
  const { sink, taken, stop, ended, address } = await startSink();
  const post = async (headers: Record<string, string>, body: string) =>
    (await fetch(address, { method: 'POST', headers, body })).status;

  const binary = {
    'ce-id': '1',
    'ce-type': 't',
    'ce-inferenceservicename': 'm',
    'content-type': 'application/json',
  };
  expect(await post(binary, '{"instances":[1.0]}')).toBe(200);
  expect(
    await post({ 'content-type': 'application/cloudevents+json' }, '{"id":"2","type":"t","data":\n{}}'),
  ).toBe(200);
  expect(await post({ 'content-type': 'application/json' }, '{}')).toBe(415);
  expect(await post({ ...binary, origin: 'http://page' }, '{}')).toBe(403);
  expect((await fetch(address)).status).toBe(405);

  expect(taken.map(({ number, bytes }) => [number, JSON.parse(bytes.toString())])).toEqual([
    [
      1,
      {
        id: '1',
        type: 't',
        inferenceservicename: 'm',
        datacontenttype: 'application/json',
        data_base64: Buffer.from('{"instances":[1.0]}').toString('base64'),
      },
    ],
    [2, { id: '2', type: 't', data: {} }],
  ]);
  stop.abort();
  expect(await ended).toMatchObject({ name: 'AbortError' });
  expect(sink.refused.all).toEqual({});
  await expect(fetch(address)).rejects.toThrow();
});

const STRUCTURED = { 'content-type': 'application/cloudevents+json' };
const EVENT = {
  id: 'a',
  type: 'org.kubeflow.serving.inference.request',
  time: '2026-11-24T12:00:00Z',
  inferenceservicename: 'sum',
  data: { instances: [1] },
};

test('what is no event is answered 400 and counted, so that it cannot end the import later', async () => {
  const { sink, taken, address } = await startSink();
  const post = async (body: string) =>
    (await fetch(address, { method: 'POST', headers: STRUCTURED, body })).status;
  expect(await post(JSON.stringify(EVENT))).toBe(200);
  expect(await post('x')).toBe(400);
  expect(await post('[]')).toBe(400);
  expect(await post(JSON.stringify({ ...EVENT, time: 'noon' }))).toBe(400);
  expect(taken).toHaveLength(1);
  expect(sink.refused.all).toEqual({ 'an event that cannot be read: refused': 3 });
});

test('what is still being received counts, and a single event is bounded', async () => {
  const { sink, address } = await startSink();
  const half = 'x'.repeat(15 * 1024 * 1024);
  const open = Array.from({ length: 4 }, () => {
    const sender = request(address, { method: 'POST', headers: STRUCTURED });
    sender.on('error', () => undefined);
    endings.push(() => sender.destroy());
    return new Promise<void>((resolve) => sender.write(half, () => resolve()));
  });
  await Promise.all(open);
  const statusOf = async (bytes: number) => {
    const sender = request(address, { method: 'POST', headers: STRUCTURED });
    sender.on('error', () => undefined);
    sender.end('x'.repeat(bytes));
    const [{ statusCode }] = await once(sender, 'response');
    return statusCode;
  };
  await expect.poll(() => statusOf(10 * 1024 * 1024)).toBe(503);
  for (const end of endings.splice(1)) end();
  await expect.poll(() => statusOf(10 * 1024 * 1024)).toBe(400);
  expect(await statusOf(17 * 1024 * 1024)).toBe(413);
  expect(sink.refused.all).toMatchObject({
    'an event of more than 16777216 bytes: refused': 1,
  });
});
