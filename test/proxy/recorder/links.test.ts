import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { LinkLimit } from '../../../src/core/accounting.ts';
import type { Exchange } from '../../../src/core/exchange.ts';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { Linker } from '../../../src/inference/links/linker.ts';
import { EventData } from '../../../src/inference/stream-events.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { Feed, HASH, makeContext } from './harness.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
/** Compressed, as latin1. */
const gzip = (text: string): string => gzipSync(text).toString('latin1');

const JSON_TYPE = 'Content-Type: application/json\r\n';
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';
const ID = 'resp_4f9aQ27xkTz81LmB';

function post(body: object | string, lines = ''): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = lines.includes('Content-Type') ? '' : JSON_TYPE;
  return `POST /v1/responses HTTP/1.1\r\nHost: m\r\nX-Session-Id: s1\r\n${type}${lines}Content-Length: ${text.length}\r\n\r\n${text}`;
}

function answer(body: object | string, lines = JSON_TYPE, status = 200): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return `HTTP/1.1 ${status} X\r\n${lines}Content-Length: ${text.length}\r\n\r\n${text}`;
}

/** The exchanges of this traffic on one connection, recorded without answers. */
function recorded(
  linker: Linker,
  ...turns: (readonly [client: string, server: string])[]
): readonly Exchange[] {
  const keys = new ExchangeKeys({ session: ['x-session-id'], client: [] }, HASH);
  const { policy } = makeContext();
  const feed = new Feed({ linker, keys, policy: { ...policy, bodies: 'requests' } });
  for (const [client, server] of turns) feed.client(client).server(server);
  feed.close();
  feed.assertSettled();
  return feed.exchanges;
}

/** A linker, and how often it reached each limit. */
function counting() {
  const missed: Partial<Record<LinkLimit, number>> = {};
  const linker = new Linker([1, 2], (limit, count) => {
    missed[limit] = (missed[limit] ?? 0) + count;
  });
  return { linker, missed };
}

const USE = [post({ previous_response_id: ID }), answer({ id: 'resp_zzz111yyy222xxx3' })] as const;
const countsOf = (exchanges: readonly Exchange[]) => exchanges.map(({ linked }) => linked?.links.length);

describe('links while recording', () => {
  it('have no value, and answers of other policies stay unstored', () => {
    const [first, second] = recorded(
      new Linker([1, 2], () => undefined, 40),
      [post({ model: 'm' }), answer({ id: ID })],
      USE,
    );
    expect(first?.linked).toEqual({ number: 41, links: [] });
    expect(first?.response?.body.kept).toBeNull();
    expect(second?.linked).toEqual({
      number: 42,
      links: [
        {
          from: 41,
          place: { in: 'json', pointer: '/id' },
          to: { in: 'json', pointer: '/previous_response_id' },
        },
      ],
    });
    expect(JSON.stringify(second?.linked)).not.toContain(ID);
  });

  it.each([
    ['an answer that was cut before its value', [post({}), answer({ a: 'x'.repeat(300_000), id: ID })]],
    ['an answer with an error', [post({}), answer({ id: ID }, JSON_TYPE, 404)]],
    ['a value that the request had', [post({ hint: ID }), answer({ id: ID })]],
    ['a value in a text of the request', [post({ prompt: `go on with ${ID}, please` }), answer({ id: ID })]],
    ['an echo of an id from a form', [post(`id=${ID}&a=1`, FORM), answer({ id: ID })]],
    ['an echo of a member name', [post({ by: { [ID]: 1 } }), answer({ id: ID })]],
    [
      'an echo of the key of a repeated request',
      [post({}, `Idempotency-Key: ${ID}\r\n`), answer({ id: ID })],
    ],
    ['an echo of a part of the trace', [post({}, `Tracestate: a=${ID},b=1\r\n`), answer({ id: ID })]],
    ['an answer that is not JSON', [post({}), answer(`{"id":"${ID}`, JSON_TYPE.replace('json', 'pdf'))]],
    [
      'an echo of an id in a compressed request',
      [post(gzip(`{"a":"${ID}"}`), `${JSON_TYPE}Content-Encoding: gzip\r\n`), answer({ id: ID })],
    ],
    ['an echo in another letter case', [post({ a: ID.toUpperCase() }), answer({ id: ID })]],
    ['an echo without its marks', [post({ a: ID.replace('_', '') }), answer({ id: ID })]],
    ['an echo of escaped characters', [post(`{"a":"${ID.replace('_', '\\u005f')}"}`), answer({ id: ID })]],
    [
      'an echo of the name in Basic credentials',
      [post({}, `Authorization: Basic ${base64(`${ID}:word`)}\r\n`), answer({ id: ID })],
    ],
    [
      'an echo of the subject of a token',
      [post({}, `Authorization: Bearer e30.${base64(`{"sub":"${ID}"}`)}.c2ln\r\n`), answer({ id: ID })],
    ],
    ['an echo of a part of a cookie', [post({}, `Cookie: a=user=${ID}|b; c=1\r\n`), answer({ id: ID })]],
    ['an echo of a part of an id', [post({ a: `urn:x:${ID}:1` }), answer({ id: ID })]],
    ['an echo of text in base64', [post({ a: base64(`user ${ID}`) }), answer({ id: ID })]],
    ['an echo of the page before', [post({}, `Referer: http://m/a/${ID}\r\n`), answer({ id: ID })]],
    ['an echo of an ETag', [post({}, `If-None-Match: "${ID}"\r\n`), answer({ id: ID })]],
    ['an echo of XML', [post(`<a id="${ID}"/>`, 'Content-Type: text/xml\r\n'), answer({ id: ID })]],
    [
      'an echo of the name of a file',
      [
        post(
          `--b\r\nContent-Disposition: form-data; name="f"; filename="${ID}.pdf"\r\n\r\nx\r\n--b--\r\n`,
          'Content-Type: multipart/form-data; boundary=b\r\n',
        ),
        answer({ id: ID }),
      ],
    ],
    [
      'an echo of a variable of GraphQL',
      [
        post({ query: `{ node(id: "${ID}") { id } }`, variables: {} }),
        answer({ data: { node: { id: ID } } }),
      ],
    ],
    ['an echo of an encoded path', [post({}, `X-Path: /a%2F${ID}\r\n`), answer({ id: ID })]],
    ['compressed bytes', [post({}), answer({ id: ID }, `${JSON_TYPE}Content-Encoding: gzip\r\n`)]],
  ] as const)('are none after %s, and the session goes on', (_, turn) => {
    const exchanges = recorded(new Linker([1, 2], () => undefined), turn, USE, [
      post({ previous_response_id: 'resp_zzz111yyy222xxx3' }),
      answer({}),
    ]);
    expect(countsOf(exchanges)).toEqual([0, 0, 1]);
  });

  it('come from the first of two answers with the same value, and from a stream in any pieces', () => {
    const stream = `data: {"id":"${ID}","choices":[]}\n\ndata: [DONE]\n\n`;
    const exchanges = recorded(
      new Linker([1, 2], () => undefined),
      [post({}), answer(stream, 'Content-Type: text/event-stream\r\n')],
      [post({}), answer({ id: ID })],
      USE,
    );
    expect(exchanges[2]?.linked?.links).toMatchObject([
      { from: 1, place: { in: 'event', event: '', pointer: '/id', nth: 0 } },
    ]);
  });

  it.each([
    [
      'a compressed request',
      post(gzip(`{"previous_response_id":"${ID}"}`), `${JSON_TYPE}Content-Encoding: gzip\r\n`),
    ],
    ['an escaped value', post(`{"previous_response_id":"${ID.replace('_', '\\u005F')}"}`)],
  ])('are found in %s, and not where a value has another letter case', (_, use) => {
    const exchanges = recorded(
      new Linker([1, 2], () => undefined),
      [post({}), answer({ id: ID })],
      [use, answer({})],
      [post({ previous_response_id: ID.toUpperCase() }), answer({})],
    );
    expect(countsOf(exchanges)).toEqual([0, 1, 0]);
  });

  it('are those of cookies and tokens alone after a request that cannot be read', () => {
    const { linker, missed } = counting();
    const token = 'tok_8f9aQ27xkTz81LmB';
    const exchanges = recorded(
      linker,
      [
        post('xxxx', `${JSON_TYPE}Content-Encoding: own\r\n`),
        answer({ id: ID }, `${JSON_TYPE}X-Session-Token: ${token}\r\n`),
      ],
      [post({ previous_response_id: ID }, `X-Session-Token: ${token}\r\n`), answer({})],
    );
    expect(exchanges[1]?.linked?.links.map(({ to }) => to)).toEqual([
      { in: 'header', name: 'x-session-token' },
    ]);
    expect(missed).toEqual({ unread: 1 });
  });

  it('are not searched for in compressed answers, which are counted', () => {
    const { linker, missed } = counting();
    const exchanges = recorded(
      linker,
      [post({}), answer({ id: ID }, `${JSON_TYPE}Content-Encoding: gzip\r\n`)],
      [post({ previous_response_id: ID }), answer({})],
    );
    expect([countsOf(exchanges), missed]).toEqual([[0, 0], { unread: 1 }]);
  });

  it('need memory of the budget, and cost nothing but themselves without it', () => {
    const charged: number[] = [];
    const missed: LinkLimit[] = [];
    const linker = new Linker([1, 2], (limit) => missed.push(limit), 0, {
      reserve(bytes) {
        charged.push(bytes);
        return charged.length < 3;
      },
    });
    expect(countsOf(recorded(linker, [post({}), answer({ id: ID })], USE))).toEqual([0, 0]);
    // The first place has no room after the shared tables and the first generation of values.
    expect(missed[0]).toBe('many_places');
    expect(charged.slice(0, 2).every((bytes) => bytes > 500_000)).toBe(true);
    const none = new Linker([1, 2], (limit) => missed.push(limit), 0, { reserve: () => false });
    expect(countsOf(recorded(none, [post({}), answer({ id: ID })], USE))).toEqual([0, 0]);
    expect(missed).toContain('budget');
  });

  it('are bounded by 1 MB of cookies and by a request with 5,000 uses', () => {
    const { linker, missed } = counting();
    const cookies = Array.from(
      { length: 250 },
      (_, at) => `Set-Cookie: c${at}=${at}a${'b7'.repeat(400)}\r\n`,
    ).join('');
    const uses = post({ ids: Array.from({ length: 5_000 }, () => ({ id: ID })) });
    const exchanges = recorded(
      linker,
      [post({}), answer({ id: ID }, JSON_TYPE + cookies)],
      [uses, answer({})],
    );
    expect(countsOf(exchanges)).toEqual([0, 1_024]);
    expect(missed).toEqual({ many_links: 5_000 - 1_024 });
  });

  it('cost an error of their own, and nothing else', () => {
    const broken = new Linker([1, 2], () => undefined);
    broken.request = () => {
      throw new Error('broken');
    };
    const exchanges = recorded(broken, [post({}), answer({ id: ID })], USE);
    expect(exchanges.map(({ linked, status }) => [linked, status])).toEqual([
      [null, 200],
      [null, 200],
    ]);
  });
});

describe('what clients and servers send', () => {
  const FILE = 'file_4f9aQ27xkTz81LmB';
  const turn = (told: object | string, lines?: string) => [post({}), answer(told, lines)] as const;

  it('is not stored in the names of a place: neither a value that is a member name, nor an address', () => {
    const exchanges = recorded(
      new Linker([1, 2], () => undefined),
      turn({ id: ID, files: { [FILE]: { id: FILE } } }),
      [post({ by: { 'jo@bath.example': { resp_id: ID }, [FILE]: { file_id: FILE } } }), answer({})],
      [post({ resp_id: ID, file_id: FILE }), answer({})],
    );
    expect(countsOf(exchanges)).toEqual([0, 0, 1]);
    const stored = JSON.stringify(exchanges.map(({ linked }) => linked));
    for (const secret of [FILE, 'jo@', ID]) expect(stored).not.toContain(secret);
  });

  it('makes no links of megabytes by one long name above many values', () => {
    const uses = { ['k'.repeat(30_000)]: { resp_ids: Array(1_024).fill(ID) }, resp_id: ID };
    const [, second] = recorded(new Linker([1, 2], () => undefined), turn({ id: ID }), [
      post(uses),
      answer({}),
    ]);
    expect(second?.linked?.links.map(({ to }) => to)).toEqual([{ in: 'json', pointer: '/resp_id' }]);
  });

  it('cannot use up the places by answers whose members are named by ids', () => {
    const linker = new Linker([1, 2], () => undefined);
    const first = { number: 1, session: new Uint8Array(8) };
    const places = new Set<number>();
    const keyed = (at: number) => `{"files":{"file_${at}aQ27x${at}Tz81":{"id":"4f9aQ27xkTz81LmB${at}"}}}`;
    for (let at = 0; at < 20_000; at += 1)
      linker.answerDocument(Buffer.from(keyed(at)), (_low, _high, place) => places.add(place));
    expect([...places]).toEqual([]);
    linker.answerDocument(Buffer.from(JSON.stringify({ id: ID })), (low, high, place) => {
      places.add(place);
      linker.issue(first, low, high, place);
    });
    expect(places.size).toBe(1);
  });

  it('count a body of which only the beginning is searched', () => {
    const { linker, missed } = counting();
    const [, second] = recorded(linker, turn({ pad: 'x '.repeat(40_000), id: ID }), USE);
    expect(second?.linked?.links).toEqual([]);
    expect(missed).toEqual({ long_body: 1 });
  });

  it('count events that are too long to be searched', () => {
    const { linker, missed } = counting();
    const stream = `data: {"pad":"${'x '.repeat(40_000)}","id":"${ID}"}\n\ndata: [DONE]\n\n`;
    const [, second] = recorded(linker, turn(stream, 'Content-Type: text/event-stream\r\n'), USE);
    expect(second?.linked?.links).toEqual([]);
    expect(missed).toEqual({ long_body: 1 });
  });

  it('count values of a stream beyond the most at one place', () => {
    const { linker, missed } = counting();
    const events = Array.from({ length: 100 }, (_, at) => `data: {"id":"4f9aQ27xk${at}z81LmB"}\n\n`);
    recorded(linker, turn(events.join(''), 'Content-Type: text/event-stream\r\n'));
    expect(missed).toEqual({ many_values: 36 });
  });

  it('count values at places for which there is no room', () => {
    const { linker, missed } = counting();
    let found = 0;
    for (let at = 0; at < 16_400; at += 1)
      linker.answerDocument(Buffer.from(`{"f${at}":{"id":"${ID}"}}`), () => {
        found += 1;
      });
    expect([found, missed]).toEqual([16_384, { many_places: 16 }]);
  });

  it('count values that are forgotten', () => {
    const { linker, missed } = counting();
    const full = Math.floor(0.7 * 2 ** 19);
    for (let at = 0; at <= 2 * full; at += 1)
      linker.issue({ number: 1, session: new Uint8Array(8) }, at, at + 1, 1);
    expect(missed).toEqual({ forgotten: full });
  });

  it('count streams for which there was no memory', () => {
    const { linker, missed } = counting();
    const keys = new ExchangeKeys({ session: ['x-session-id'], client: [] }, HASH);
    const { policy } = makeContext();
    const budget = new AssemblyBudget(EventData.heldBytes - 1);
    const feed = new Feed({ linker, keys, budget, policy: { ...policy, bodies: 'none' } });
    const [client, server] = turn('data: {"id":"x"}\n\n', 'Content-Type: text/event-stream\r\n');
    feed.client(client).server(server).close();
    expect(missed).toEqual({ budget: 1 });
  });

  it.each([
    ['another name for each event', (at: number) => `event: e${at}\ndata: {"a":1}\n\n`],
    ['padding', (at: number) => `data: {"obfuscation":"4f9aQ27xk${at}z81LmB"}\n\n`],
    ['an id for each event', (at: number) => `data: {"event_id":"4f9aQ27xk${at}z81LmB"}\n\n`],
  ])('hides no id that comes late in a stream with %s', (_, event) => {
    const events = Array.from({ length: 1_500 }, (_each, at) => event(at)).join('');
    const stream = `${events}data: {"id":"${ID}"}\n\n`;
    const [, second] = recorded(
      new Linker([1, 2], () => undefined),
      turn(stream, 'Content-Type: text/event-stream\r\n'),
      USE,
    );
    expect(second?.linked?.links).toHaveLength(1);
  });
});
