import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatPlace } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { LinkReader } from '../../src/inference/links/link-reader.ts';
import { DECOYS, issued, type Made, madeCapture } from '../support/linked-sessions.ts';
import { repeated } from '../support/long-form.ts';
import { missing, sharedData } from '../support/shared-data.ts';

/** The links of a capture in words: exchange and place of the value, then of its use. */
function linksOf(made: readonly Made[]): string[] {
  const reader = new LinkReader(() => undefined);
  return madeCapture(made).flatMap(([row, payload]) =>
    reader
      .of(row, payload)
      .map(({ from, place, to }) => `${from?.id} ${formatPlace(place)} -> ${row.id} ${formatPlace(to)}`),
  );
}

describe('decoys', () => {
  it.each(Object.keys(DECOYS))('%s: none is a link, and the ids beside them are', (kind) => {
    const random = new SeededRandom(7);
    const decoy = DECOYS[kind]!;
    const made: Made[] = [];
    let expected = 0;
    for (let n = 0; n < 60; n += 1) {
      const memory = new Map<string, string>();
      let last: string | null = null;
      for (let turn = 0; turn < 5; turn += 1) {
        const atMs = 1_794_000_000_000 + n * 700 + turn * 1_000;
        const { asked, askedHeaders = [], told, toldHeaders = [] } = decoy({ n, turn, atMs, random, memory });
        const id = issued(random, 'resp_');
        made.push({
          session: `s${n}`,
          atUs: atMs * 1_000 + n,
          target: '/v1/things',
          asked: { ...asked, ...(last === null ? {} : { previous_response_id: last }) },
          askedHeaders,
          told: { response_id: id, ...told },
          toldHeaders,
        });
        if (last !== null) expected += 1;
        last = id;
      }
    }
    const links = linksOf(made);
    expect(links.filter((link) => !link.endsWith('json /previous_response_id'))).toEqual([]);
    expect(links).toHaveLength(expected);
  });
});

/** Sessions of several turns with planted ids, and a decoy of each of three kinds in each turn. */
function mixedTraffic(seed: number): { readonly made: Made[]; readonly planted: number } {
  const random = new SeededRandom(seed);
  const kinds = Object.values(DECOYS);
  const made: Made[] = [];
  let planted = 0;
  for (let n = 0; n < 100; n += 1) {
    const memory = new Map<string, string>();
    const chosen = [0, 1, 2].map(() => kinds[random.below(kinds.length)]!);
    const atMs = 1_794_000_000_000 + random.below(60_000);
    let token: string | null = null;
    let calls: readonly string[] = [];
    for (let turn = 0; turn < 10; turn += 1) {
      const decoys = chosen.map((decoy) => decoy({ n, turn, atMs: atMs + turn * 1_000, random, memory }));
      planted += calls.length + (token === null ? 0 : 1);
      const ofSession: string = token ?? issued(random);
      const next = [...calls, issued(random, 'call_', 16 + random.below(9))].slice(-3);
      const uses = { planted: calls.map((call) => ({ tool_call_id: call })) };
      const told = { tools: next.slice(-1).map((id) => ({ id })) };
      made.push({
        session: `s${n}`,
        atUs: (atMs + turn * 1_000) * 1_000 + n,
        target: '/v1/things',
        asked: Object.assign({}, ...decoys.map(({ asked }) => asked), uses),
        askedHeaders: [
          ...decoys.flatMap(({ askedHeaders = [] }) => askedHeaders),
          ...(token === null ? [] : [['X-Session-Token', token] as const]),
        ],
        toldHeaders: [
          ...decoys.flatMap(({ toldHeaders = [] }) => toldHeaders),
          ['X-Session-Token', ofSession] as const,
        ],
        ...(random.below(2) === 0
          ? { told: Object.assign({}, ...decoys.map(({ told: each }) => each), told) }
          : {
              events: [
                ['', Object.assign({}, ...decoys.map(({ told: each }) => each))],
                ['tools', told],
              ] as const,
            }),
      });
      calls = next;
      token = ofSession;
    }
  }
  return { made, planted };
}

describe('any sessions', () => {
  it('have all planted links, and at most one other in 10,000 requests', () => {
    const runs = repeated(4, 20);
    let [requests, others] = [0, 0];
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const { made, planted } = mixedTraffic(seed);
        const links = linksOf(made);
        const isPlanted = (link: string) => /planted\/\d\/tool_call_id$|header x-session-token$/.test(link);
        expect(links.filter(isPlanted)).toHaveLength(planted);
        requests += made.length;
        others += links.filter((link) => !isPlanted(link)).length;
      }),
      { seed: 5, numRuns: runs },
    );
    expect(requests).toBe(1_000 * runs);
    expect(others).toBeLessThanOrEqual(requests / 10_000);
  });

  it('have no link from an answer that comes after the request, nor to another session', () => {
    const id = 'resp_4f9aQ27xkTz81LmB';
    const first = { target: '/v1/things', told: { id }, tookUs: 50_000 };
    const second = { target: '/v1/things', asked: { previous_response_id: id } };
    expect(
      linksOf([
        { ...first, session: 'a', atUs: 0 },
        { ...second, session: 'a', atUs: 49_000 },
      ]),
    ).toEqual([]);
    expect(
      linksOf([
        { ...first, session: 'a', atUs: 0 },
        { ...second, session: 'b', atUs: 60_000 },
      ]),
    ).toEqual([]);
    expect(
      linksOf([
        { ...first, session: 'a', atUs: 0 },
        { ...second, session: 'a', atUs: 60_000 },
      ]),
    ).toEqual(['1 json /id -> 2 json /previous_response_id']);
  });

  it('have a link from the event that had the value, while the stream goes on', () => {
    const [one, two] = ['call_4f9aQ27xkTz81LmB', 'call_9mmW03bqYt62RsdE'];
    const call = (id: string) => ['', { choices: [{ delta: { tool_calls: [{ id }] } }] }] as const;
    const stream = { session: 'a', atUs: 0, target: '/v1/chat', events: [call(one), call(one), call(two)] };
    const use = (id: string, atUs: number) => ({
      session: 'a',
      atUs,
      target: `/v1/calls/${id}/cancel`,
      asked: {},
    });
    const pointer = 'event /choices/0/delta/tool_calls/0/id';
    expect(linksOf([stream, use(one, 2_500), use(two, 3_500)])).toEqual([`1 ${pointer} -> 2 path segment 3`]);
    expect(linksOf([stream, use(two, 5_000)])).toEqual([`1 ${pointer} (value 2) -> 2 path segment 3`]);
  });
});

const CASSETTES = 'pydantic-ai-cassettes/exchanges.jsonl.gz';

/** A message of a cassette. Upstream parsed its JSON. */
interface CassetteMessage {
  readonly body_json?: unknown;
  readonly body_text?: string;
  readonly headers: Readonly<Record<string, string>>;
}
interface CassetteExchange {
  readonly cassette: string;
  readonly request: CassetteMessage & { readonly path: string };
  readonly response: CassetteMessage;
}

describe('conversations with hosted servers', () => {
  it('have links at places of ids alone, in all four interfaces', (context) => {
    const path = sharedData(CASSETTES);
    if (path === null) return context.skip(missing(CASSETTES));
    const lines = gunzipSync(readFileSync(path)).toString().trim().split('\n');
    const made = lines.map((line, at): Made => {
      const { cassette, request, response } = JSON.parse(line) as CassetteExchange;
      const { body_json: asked = {} } = request;
      const { body_json: told, body_text: text = '' } = response;
      return {
        session: cassette,
        atUs: at * 1_000_000,
        target: request.path,
        asked: asked as Record<string, unknown>,
        ...(told === undefined ? { stream: text } : { told }),
      };
    });
    const links = linksOf(made);
    expect(links.length).toBeGreaterThan(800);
    const places = links.map((link) => link.replace(/\d+ (.*?)(?: \(value \d+\))? -> \d+ /, '$1 -> '));
    const ofIds =
      /\/(?:id|call_id|container_id|encrypted_content|signature) -> .*\/(?:\w*id|encrypted_content|signature)$/;
    expect(places.filter((place) => !ofIds.test(place))).toEqual([]);
    for (const to of ['/tool_call_id', '/tool_use_id', '/call_id', '/previous_response_id'])
      expect(places.some((place) => place.endsWith(to))).toBe(true);
  });
});
