import { describe, expect, test } from 'vitest';
import { TextCounts } from '../../src/core/text.ts';
import { openKserve } from '../../src/formats/kserve.ts';
import { latin1, readImport, traceFile } from './support.ts';

interface Parts {
  readonly id?: string;
  readonly at?: string;
  readonly data?: string;
  readonly more?: Readonly<Record<string, unknown>>;
}

function event(
  kind: 'request' | 'response',
  { id = 'a', at = '00.000000Z', data = '{}', more = {} }: Parts,
): string {
  const attributes = {
    specversion: '1.0',
    id,
    type: `org.kubeflow.serving.inference.${kind}`,
    source: 'http://localhost:9081/',
    time: `2026-11-24T12:00:${at}`,
    inferenceservicename: 'sum',
    namespace: 'default',
    component: 'predictor',
    ...more,
  };
  return `${JSON.stringify(attributes).slice(0, -1)},"data":${data}}`;
}

async function read(lines: readonly string[], requestPath: string | null = null) {
  return await readImport(openKserve(traceFile(lines.join('\n'), 'events.jsonl'), requestPath, null));
}

describe('events of KServe’s logger', () => {
  test('become exchanges by their ids, whichever half comes first', async () => {
    const { exchanges, source } = await read([
      event('request', { data: '{"instances": [1.10]}', at: '00.000001250Z' }),
      event('response', { id: 'b', at: '02.5Z', data: '{"predictions":[2]}' }),
      event('response', { at: '00.250001Z', data: '{"predictions":[1]}' }),
      event('request', { id: 'b', at: '02Z', data: '{"instances":[2]}' }),
    ]);
    expect(source.lacking).toEqual({});
    expect(
      exchanges.map(({ arrivalUs, lastByteOffsetUs, status }) => [arrivalUs, lastByteOffsetUs, status]),
    ).toEqual([
      [Date.UTC(2026, 10, 24, 12) * 1000 + 1, 250_000, 200],
      [Date.UTC(2026, 10, 24, 12, 0, 2) * 1000, 500_000, 200],
    ]);
    // Byte for byte, with its digits and its space.
    expect(latin1(exchanges[0]?.request?.body.kept ?? null)).toBe('{"instances": [1.10]}');
    expect(exchanges[0]).toMatchObject({
      method: 'POST',
      model: 'sum',
      firstByteOffsetUs: null,
      outcome: 'completed',
    });
  });

  test.each([
    ['{"instances":[1]}', '/v1/models/sum:predict'],
    ['{"inputs":[[1,2]]}', '/v1/models/sum:predict'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}', '/v2/models/sum/infer'],
    ['{"model":"m","messages":[]}', '/openai/v1/chat/completions'],
    ['{"model":"m","prompt":"p"}', '/openai/v1/completions'],
    ['{"model":"m","input":"p"}', '/openai/v1/embeddings'],
  ])('are sent where KServe takes %s', async (data, path) => {
    const { exchanges } = await read([event('request', { data })]);
    expect(latin1(exchanges[0]?.request?.head ?? null)).toMatch(new RegExp(`^POST ${path} HTTP/1.1\r\n`));
  });

  test('say what they lack, and count it', async () => {
    const { exchanges, source } = await read([
      event('request', { id: 'unanswered', data: '{"instances":[1]}' }),
      event('response', { id: 'unasked' }),
      event('request', { id: 'unknown', data: '"text"' }),
      event('request', { id: 'twice', data: '{"instances":[1]}' }),
      event('request', { id: 'twice', data: '{"instances":[2]}' }),
      event('response', { id: 'twice', at: '01Z' }),
      event('request', { id: 'late', at: '03Z', data: '{"instances":[3]}' }),
      event('response', { id: 'late', at: '01Z' }),
      event('request', { more: { type: 'org.other' } }),
    ]);
    expect(exchanges.map(({ status, lastByteOffsetUs }) => [status, lastByteOffsetUs])).toEqual([
      [null, null],
      [200, 1_000_000],
      [200, null],
      [null, null],
    ]);
    expect(source.lacking).toEqual({
      'no response event: another status than 200, or the event was lost': 3,
      'a response without its request: left out': 1,
      'a payload of no known protocol: left out; --request-path names its path': 1,
      'an id that another exchange has too': 1,
      'a response before its request: no latency': 1,
      'an event of another type: left out': 1,
    });
  });

  test('have binary payloads, texts, and the headers of their metadata, secrets masked', async () => {
    const bytes = Buffer.from([0, 255, 10]);
    const more = {
      data: undefined,
      data_base64: bytes.toString('base64'),
      datacontenttype: 'application/octet-stream',
      metadata:
        '{"Inference-Header-Content-Length":["2"],"Authorization":["Bearer sk-9"],"Content-Length":["9"]}',
    };
    const line = event('request', { more }).replace(/,"data":\{\}\}$/, '}');
    const { exchanges } = await read([line], '/v2/models/sum/infer');
    expect(exchanges[0]?.request?.body.kept).toEqual(bytes);
    const head = latin1(exchanges[0]?.request?.head ?? null);
    expect(head).toContain('Inference-Header-Content-Length: 2\r\n');
    expect(head).toContain('Content-Type: application/octet-stream\r\n');
    expect(head).toContain('Content-Length: 3\r\n');
    expect(head).not.toContain('sk-9');
  });

  test('know a stream by its bytes, as the logger does not tell its type', async () => {
    const { exchanges } = await read([
      event('request', { data: '{"model":"m","messages":[]}' }),
      event('response', { at: '01Z', data: JSON.stringify('data: {}\n\ndata: [DONE]\n\n') }),
    ]);
    expect(exchanges[0]?.streamed).toBe(true);
  });

  test('of a sender, which cannot correct them, are left out one by one and counted', async () => {
    const refused = new TextCounts();
    refused.count('an event of another sort: refused', 2);
    const lines = [
      event('request', { data: '{"instances":[1]}' }),
      '{',
      event('request', { id: 'b', data: '{"instances":[1]}', more: { metadata: '{' } }),
      event('response', { at: '01Z' }),
    ].map((line, at) => ({ number: at + 1, bytes: Buffer.from(line) }));
    const source = {
      refused,
      lines: async function* () {
        yield lines;
      },
    };
    const { exchanges, source: read_ } = await readImport(openKserve('127.0.0.1:8099', null, source));
    expect(exchanges.map(({ status }) => status)).toEqual([200]);
    expect(read_.lacking).toMatchObject({
      'an event that cannot be read: left out': 2,
      'an event of another sort: refused': 2,
    });
  });

  test.each([
    ['not JSON', '{', 'not JSON'],
    ['no id', event('request', { id: '' }), 'no id'],
    ['no time', event('request', { at: 'x' }), 'no instant'],
    ['base64', event('request', { more: { data_base64: '!' } }), 'base64'],
    ['metadata', event('request', { data: '{"instances":[1]}', more: { metadata: '{' } }), 'metadata'],
  ])('are refused with their line: %s', async (_, line, said) => {
    await expect(read([event('request', { id: 'z', data: '{"instances":[1]}' }), line])).rejects.toThrow(
      new RegExp(`line 2: .*${said}`),
    );
  });
});
