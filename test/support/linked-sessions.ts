import { createHash } from 'node:crypto';
import type { ExchangePayload, ExchangeRow, Message } from '../../src/core/exchange.ts';
import { buildRequestHead, type HeaderPair } from '../../src/core/headers.ts';
import type { SeededRandom } from '../../src/core/random.ts';
import { exchangeRow } from './exchange-row.ts';
import { wholeBody } from './exchanges.ts';

/** One exchange of a made-up session. */
export interface Made {
  readonly session: string;
  readonly atUs: number;
  readonly target: string;
  readonly asked?: Readonly<Record<string, unknown>> | null;
  readonly askedHeaders?: readonly HeaderPair[];
  readonly told?: unknown;
  readonly toldHeaders?: readonly HeaderPair[];
  /** Events in place of a document, 1 ms apart. */
  readonly events?: readonly (readonly [name: string, data: unknown])[];
  /** A stream as text, in one piece. */
  readonly stream?: string;
  readonly tookUs?: number;
}

/** Rows with payloads, in order of arrival, with ids from 1. */
export function madeCapture(made: readonly Made[]): [ExchangeRow, ExchangePayload][] {
  return [...made]
    .sort((a, b) => a.atUs - b.atUs)
    .map((each, at) => {
      const { session, atUs, target, asked = null, askedHeaders = [], tookUs = 2_000, events, stream } = each;
      const { told = {}, toldHeaders = [] } = each;
      const pieces =
        stream !== undefined
          ? [stream]
          : events?.map(
              ([name, data]) => `${name === '' ? '' : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`,
            );
      const body = asked === null ? '' : JSON.stringify(asked);
      const response = message(
        `HTTP/1.1 200 OK\r\n${[['Content-Type', pieces ? 'text/event-stream' : 'application/json'], ...toldHeaders].map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`,
        pieces?.join('') ?? JSON.stringify(told),
      );
      const method = asked === null ? 'GET' : 'POST';
      const head = buildRequestHead(method, target, [
        ['Host', 'model'],
        ['Content-Type', 'application/json'],
        ...askedHeaders,
      ]);
      const row = exchangeRow({
        id: at + 1,
        arrivalUs: atUs,
        route: `${method} ${target.replace(/\/[^/]*\d[^/]*/g, '/{id}').replace(/\?.*/, '')}`,
        session: createHash('sha256').update(session).digest().subarray(0, 8),
        firstByteOffsetUs: tookUs,
        lastByteOffsetUs: tookUs + (pieces?.length ?? 0) * 1_000,
        responseBytes: response.body.bytes,
      });
      const responseChunks = pieces?.flatMap((piece, n) => [tookUs + n * 1_000, piece.length]) ?? [];
      return [row, { request: message(head, body), response, requestChunks: [], responseChunks }];
    });
}

function message(head: string | Uint8Array, body: string): Message {
  return { head: Buffer.from(head as string, 'latin1'), redacted: [], body: wholeBody(body), trailers: null };
}

/** Text of random characters, as servers issue. */
export function issued(random: SeededRandom, prefix = '', chars = 24, of = ALPHABET): string {
  let text = prefix;
  for (let at = 0; at < chars; at += 1) text += of[random.below(of.length)];
  return text;
}
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const HEX = '0123456789abcdef';

export function uuid(random: SeededRandom): string {
  return issued(random, '', 32, HEX).replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
}

/** What a turn of a session adds to its request and to its answer. */
interface Turn {
  readonly asked?: Readonly<Record<string, unknown>>;
  readonly askedHeaders?: readonly HeaderPair[];
  readonly told?: Readonly<Record<string, unknown>>;
  readonly toldHeaders?: readonly HeaderPair[];
}

/** A session as a decoy sees it: its number, its turn, and what it remembers. */
interface Scene {
  readonly n: number;
  readonly turn: number;
  readonly atMs: number;
  readonly random: SeededRandom;
  readonly memory: Map<string, string>;
}

/** The value of this name in this session: the same one in each turn. */
function own(scene: Scene, name: string, make: () => string): string {
  const known = scene.memory.get(name) ?? make();
  scene.memory.set(name, known);
  return known;
}

/** What the last answer had, and a new value for the next one. */
function echo(scene: Scene, name: string, value: string): string | undefined {
  const last = scene.memory.get(name);
  scene.memory.set(name, value);
  return last;
}

function both(value: string, name = 'decoy'): Turn {
  return { asked: { [name]: value }, told: { [name]: value } };
}

/** The answer has the value first, and the next request has it too, though nobody issued it. */
function later(scene: Scene, name: string, value: string, asked = name): Turn {
  const last = echo(scene, name, value);
  return { told: { [name]: value }, ...(last === undefined ? {} : { asked: { [asked]: last } }) };
}

const iso = (ms: number): string => new Date(ms).toISOString();
const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Values that requests have after answers, though no server issued them. */
export const DECOYS: Readonly<Record<string, (scene: Scene) => Turn>> = {
  'time of the last answer': (s) => later(s, 'since', iso(s.atMs)),
  'time in seconds, as text': (s) => later(s, 'since', String(Math.floor(s.atMs / 1e3))),
  'time in nanoseconds, as text': (s) => later(s, 'since', `${s.atMs}000000`),
  'time in compact form': (s) => later(s, 'since', iso(s.atMs).replace(/[-:]|\.\d+/g, '')),
  'time with an offset': (s) => later(s, 'since', iso(s.atMs).replace('Z', '+00:00')),
  date: (s) => later(s, 'day', iso(s.atMs).slice(0, 10)),
  'date in a header': (s) => ({
    toldHeaders: [['X-Day', iso(s.atMs)]],
    askedHeaders: s.turn > 0 ? [['X-Since', iso(s.atMs - 1_000)]] : [],
  }),
  'counter of all sessions': (s) => later(s, 'counter', `counter-${s.n % 7}-${s.turn}`),
  'counter of turns': (s) => later(s, 'step', `step_0000${s.turn}`),
  'sequence number': (s) => later(s, 'sequence', String(10_000_000 + s.turn)),
  'model that an alias stands for': (s) => later(s, 'deployment', 'gpt-4o-mini-2024-07-18'),
  'model of the request': (s) =>
    both(
      own(s, 'model', () => `llama-3.1-8b-v${s.n % 3}`),
      'model',
    ),
  'user id': (s) => both(own(s, 'user', () => `user-${issued(s.random)}`)),
  'user id in a header': (s) => ({
    askedHeaders: [['X-User', own(s, 'user', () => issued(s.random))]],
    toldHeaders: [['X-User', own(s, 'user', () => issued(s.random))]],
  }),
  'account in the prompt': (s) => {
    const account = own(s, 'account', () => issued(s.random, 'acc_'));
    const asked = s.turn === 0 ? { prompt: `close account ${account}, please` } : { account };
    return { asked, told: { account } };
  },
  'short word': (s) => later(s, 'mode', ['fast', 'slow', 'v1', 'a1b2c3'][s.n % 4] ?? ''),
  'enum word': (s) => later(s, 'stage', ['requires_action', 'in_progress', 'completed'][s.turn % 3] ?? ''),
  'word of several sessions': (s) => later(s, 'region', 'us-east-1a-production'),
  'capital word': (s) => later(s, 'topic', ['Photosynthesis', 'JavaScript', 'OpenStreetMap'][s.n % 3] ?? ''),
  'answer of the model sent back': (s) => {
    const text = issued(s.random, 'Answer');
    const last = echo(s, 'answer', text);
    const told = { choices: [{ message: { role: 'assistant', content: text } }] };
    return { told, asked: { messages: [{ role: 'assistant', content: last ?? 'none' }] } };
  },
  'arguments of a tool': (s) => {
    const order = issued(s.random, 'ord');
    const last = echo(s, 'order', order);
    const told = { content: [{ type: 'tool_use', input: { order } }] };
    return { told, asked: { messages: [{ content: [{ input: { order: last ?? '' } }] }] } };
  },
  'UUID that the client made': (s) => {
    const made = own(s, 'uuid', () => uuid(s.random));
    return both(made);
  },
  'UUID of the client, echoed in another place': (s) => {
    const made = own(s, 'uuid', () => uuid(s.random));
    return { asked: s.turn === 0 ? { conversation: made } : { thread: made }, told: { id: made } };
  },
  'hash of a file': (s) => both(own(s, 'file', () => sha(`${s.n}`))),
  'hash that both sides compute': (s) => later(s, 'digest', sha('the same prompt')),
  price: (s) => later(s, 'price', `${1_000 + s.n}.${10 + s.turn}USD`),
  'price with the currency first': (s) => later(s, 'price', `USD${10_000 + s.n}.${10 + s.turn}`),
  'base64 of the request': (s) => both(Buffer.from(`request ${s.n} ${s.turn}`).toString('base64')),
  'trace id': (s) => {
    const trace = issued(s.random, '', 32, HEX);
    return {
      askedHeaders: [['traceparent', `00-${trace}-${trace.slice(16)}-01`]],
      toldHeaders: [['traceparent', `00-${trace}-${trace.slice(16)}-01`]],
    };
  },
  'request id of the client': (s) => {
    const id = uuid(s.random);
    return { askedHeaders: [['X-Request-Id', id]], toldHeaders: [['X-Request-Id', id]] };
  },
  'request id of the server': (s) => ({
    askedHeaders: [['X-Request-Id', uuid(s.random)]],
    toldHeaders: [['X-Request-Id', uuid(s.random)]],
  }),
  'idempotency key': (s) => {
    const key = uuid(s.random);
    return { askedHeaders: [['Idempotency-Key', key]], told: { idempotency: key } };
  },
  'ETag without If-None-Match': (s) => ({ toldHeaders: [['ETag', `"${sha(`${s.n}`).slice(0, 16)}"`]] }),
  'version of the server': (s) => later(s, 'version', 'v0.10.2+cu128'),
  'version of the API': (s) => later(s, 'api', '2024-10-21-preview'),
  'media type': (s) => later(s, 'accept', 'audio/mp3-high'),
  'address of the server': (s) => later(s, 'host', '10.11.12.13:8080'),
  'mail address': (s) => later(s, 'mail', `someone${s.n}@example.com`),
  'tool that the request names': (s) => ({
    asked: { tools: [{ name: 'get_weather_v2' }], choice: s.turn > 0 ? 'get_weather_v2' : null },
    told: { calls: [{ tool: 'get_weather_v2' }] },
  }),
  'file that the client names': (s) => both(own(s, 'file', () => `report-${s.n}-final2024.pdf`)),
  'duration with its unit': (s) => later(s, 'waited', `${100_000 + s.n * 10 + s.turn}ms`),
  'locale and zone': (s) => later(s, 'zone', 'Etc/GMT+12-x2'),
  'fingerprint of the system': (s) => later(s, 'system_fingerprint', 'fp_44709d6fcb'),
  'seed of the client': (s) => both(own(s, 'seed', () => issued(s.random, '', 16, HEX))),
  'header with one value for all': (s) => ({
    toldHeaders: [['X-Build', '7f3a9c2b7d41']],
    askedHeaders: s.turn > 0 ? [['X-Build', '7f3a9c2b7d41']] : [],
  }),
  'header of no name with one value for all': (s) => ({
    toldHeaders: [['X-Flavor', '7f3a9c2b7d41']],
    askedHeaders: s.turn > 0 ? [['X-Flavor', '7f3a9c2b7d41']] : [],
  }),
  'tenant of many sessions': (s) => later(s, 'tenant_id', `tnt_${sha(`tenant ${s.n % 5}`).slice(0, 20)}`),
  'tenant of many sessions, in camel case': (s) =>
    later(s, 'organizationId', `org-${sha(`org ${s.n % 5}`).slice(0, 20)}`),
  'UUID of the client in another case': (s) => {
    const made = own(s, 'uuid', () => uuid(s.random));
    return {
      asked: s.turn === 0 ? { thread_id: made.toUpperCase() } : { thread_id: made },
      told: { id: made },
    };
  },
  'date with the name of its month': (s) => later(s, 'since_id', `0${s.turn + 1}-Dec-2026T00:13:39GMT`),
  'week of the year': (s) => later(s, 'week_id', `2026-W4${s.turn}-${s.n % 7}`),
  'digest of a file that the server names': (s) => later(s, 'sha256', sha(`${s.n} ${s.turn}`)),
  'region of the server': (s) => later(s, 'region', `eu-${s.n}-${sha(`${s.n}`).slice(0, 9)}`),
};
