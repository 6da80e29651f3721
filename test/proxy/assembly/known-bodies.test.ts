import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AssemblyBudget } from '../../../src/core/http1/budget.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { KnownBodies } from '../../../src/proxy/assembly/known-bodies.ts';
import type { BodyPolicy } from '../../../src/proxy/assembly/options.ts';
import { Feed, HASH } from './harness.ts';

/** Knows nothing, so that every body is read. */
class NoBodies extends KnownBodies {
  override find(): null {
    return null;
  }
}

/** Texts of few letters, so that they repeat, and differ in one place only. */
const texts = fc.array(fc.stringMatching(/^a{0,40}[ab]a{0,40}$/), { minLength: 1, maxLength: 40 });

/** Documents that say other things to each way of asking. */
const DOCUMENTS = [
  '{"inputs":[{"shape":[3,2]}],"instances":[1,2]}',
  '{"inputs":["a","b","c"],"stream":true,"instances":[]}',
  '{"prompt":["a","b"],"stream":true,"n":2,"inputs":[{"shape":[7]}]}',
];

/** Heads under which the same body says something else. */
const HEADS = [
  'POST /v1/completions HTTP/1.1\r\n',
  'POST /v1/models/a:predict HTTP/1.1\r\n',
  'POST /v2/models/a/infer HTTP/1.1\r\n',
  'POST /v2/models/a/infer HTTP/1.1\r\nInference-Header-Content-Length: 20\r\n',
  'POST /generate HTTP/1.1\r\nContent-Encoding: gzip\r\n',
];

interface Case {
  readonly requests: readonly { readonly body: string; readonly head: string }[];
  readonly pieces: number;
  readonly policy: BodyPolicy;
  readonly budgetBytes: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  requests: fc
    .tuple(
      texts,
      fc.array(fc.constantFrom(...DOCUMENTS), { maxLength: 20 }),
      fc.array(fc.constantFrom(...HEADS)),
    )
    .map(([some, documents, heads]) =>
      [...documents, ...some].map((body, at) => ({ body, head: heads[at] ?? (HEADS[0] as string) })),
    ),
  pieces: fc.integer({ min: 1, max: 3 }),
  policy: fc.record({
    bodies: fc.constantFrom('requests' as const, 'all' as const, 'none' as const),
    requestBodyBytes: fc.constantFrom(20, 1_000),
    responseBodyBytes: fc.constantFrom(20, 1_000),
  }),
  budgetBytes: fc.constantFrom(LIMITS.openExchangeBytes + 300, 1_000_000),
});

function post(start: string, body: string, pieces: number): string[] {
  const head = `${start}Content-Length: ${body.length}\r\n\r\n`;
  const size = Math.max(1, Math.ceil(body.length / pieces));
  const rest = Array.from({ length: pieces }, (_, at) => body.slice(at * size, (at + 1) * size));
  return [head, ...rest].filter((piece) => piece !== '');
}

/** What is recorded of some exchanges, each of which answers what was asked, and what became of the budget. */
function recorded(bodies: KnownBodies, { requests, pieces, policy, budgetBytes }: Case) {
  const budget = new AssemblyBudget(budgetBytes);
  const feed = new Feed({ bodies, budget, policy });
  for (const { head, body } of requests) {
    for (const piece of post(head, body, pieces)) feed.client(piece);
    feed.server(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  }
  feed.close();
  feed.assertSettled();
  return { settlements: feed.settlements, refusals: budget.refusals, usedBytes: budget.usedBytes };
}

describe('bodies that are known', () => {
  it('are recorded as they would be if they were not', () => {
    fc.assert(
      fc.property(cases, (one) => {
        expect(recorded(new KnownBodies(HASH), one)).toEqual(recorded(new NoBodies(HASH), one));
      }),
    );
  });

  it('say under each head what they say there', () => {
    const body = DOCUMENTS[0] as string;
    const requests = Array.from({ length: 12 }, (_, at) => ({ head: HEADS[1 + (at % 2)] as string, body }));
    const policy: BodyPolicy = { bodies: 'all', requestBodyBytes: 1_000, responseBodyBytes: 1_000 };
    const one = { requests, pieces: 1, policy, budgetBytes: 1_000_000 };
    const { settlements } = recorded(new KnownBodies(HASH), one);
    const batches = settlements.map((each) => (each.kind === 'recorded' ? each.exchange.batch : each));
    expect(batches).toEqual([2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3]);
  });

  it('are those with the same bytes, and no others', () => {
    const bodies = new KnownBodies(HASH);
    fc.assert(
      fc.property(texts, (all) => {
        for (const text of all) {
          const bytes = Buffer.from(text);
          const known = bodies.find(bytes);
          bytes.fill(0xee);
          if (known === null) continue;
          expect(known.bytes.toString()).toBe(text);
          expect(known.hash).toEqual(HASH.ofBody(Buffer.from(text)));
        }
      }),
    );
  });

  it('come twice before they are kept', () => {
    const bodies = new KnownBodies(HASH);
    expect(bodies.find(Buffer.from('again'))).toBeNull();
    expect(bodies.heldBytes).toBe(0);
    const kept = bodies.find(Buffer.from('again'));
    expect(bodies.find(Buffer.from('again'))).toBe(kept);
    expect(kept?.bytes.toString()).toBe('again');
  });

  it('are told apart where all that is looked at is the same', () => {
    const bodies = new KnownBodies(HASH);
    const [one, other] = [Buffer.alloc(10_000, 'x'), Buffer.alloc(10_000, 'x')];
    other[1] = 0x79;
    bodies.find(one);
    expect(bodies.find(one)?.bytes.equals(one)).toBe(true);
    expect(bodies.find(other)).toBeNull();
    for (let round = 0; round < 3; round += 1)
      for (const body of [one, other]) expect(bodies.find(body)?.bytes.equals(body) ?? true).toBe(true);
  });

  it('with a number of their own each are not kept one after the other', () => {
    const bodies = new KnownBodies(HASH);
    let kept = 0;
    for (let at = 0; at < 1_000; at += 1) {
      const body = Buffer.alloc(2_000, 'x');
      // Between two of the bytes that say where it is looked for.
      body.write(String(at).padStart(8, '0'), 2_000 - 80, 'latin1');
      if (bodies.find(body) !== null) kept += 1;
    }
    expect(kept).toBe(1);
    expect(bodies.heldBytes).toBe(0);
  });

  it('take no more room than they may, and those that come again keep theirs', () => {
    const bodies = new KnownBodies(HASH);
    const often = Buffer.from('often');
    bodies.find(often);
    bodies.find(often);
    for (let at = 0; at < 3_000; at += 1) {
      const body = Buffer.alloc(8_000, `${at},`);
      bodies.find(body);
      bodies.find(body);
      expect(bodies.find(often)?.bytes.toString()).toBe('often');
      expect(bodies.heldBytes).toBeLessThanOrEqual(8 * 1024 * 1024);
    }
  });

  it('make room in turn, but for those that came again since their last turn', () => {
    const bodies = new KnownBodies(HASH);
    let others = 0;
    const fill = () => {
      // 8 MB and more.
      for (let count = 0; count < 1_100; count += 1, others += 1) {
        const body = Buffer.alloc(8_000, `${others},`);
        bodies.find(body);
        bodies.find(body);
      }
    };
    const [first, second] = [Buffer.from('first'), Buffer.from('second')];
    for (const body of [first, second]) bodies.find(body);
    const [kept, other] = [bodies.find(first), bodies.find(second)];
    expect(bodies.find(first)).toBe(kept);
    fill();
    // One that was let go of is made anew.
    expect(bodies.find(second)).not.toBe(other);
    expect(bodies.find(first)).toBe(kept);
    fill();
    expect(bodies.find(first)).toBe(kept);
    for (let round = 0; round < 2; round += 1) fill();
    expect(bodies.find(first)).not.toBe(kept);
  });

  it('that are long are not kept', () => {
    const bodies = new KnownBodies(HASH);
    const long = Buffer.alloc(20_000, 'x');
    expect([bodies.find(long), bodies.find(long), bodies.find(long)]).toEqual([null, null, null]);
    expect(bodies.heldBytes).toBe(0);
  });
});
