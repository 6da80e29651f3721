import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OMISSION_CAUSES } from '../../../src/core/accounting.ts';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { Sampling, SkipRules } from '../../../src/redaction/recording-policy.ts';
import { repeated } from '../../support/long-form.ts';
import { Feed, HASH, latin1 } from './harness.ts';

/** One exchange as it is on the wire, and what must be read from it. */
interface Model {
  readonly client: string;
  readonly server: string;
  readonly method: string;
  readonly status: number;
  readonly requestBody: string;
  readonly responseBody: string;
}

const body = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 60,
});
const framed = fc.record({
  body,
  chunked: fc.boolean(),
  trailers: fc.boolean(),
  /** Where a chunked body is cut into chunks. */
  chunkBytes: fc.integer({ min: 1, max: 30 }),
});

function withBody({
  body,
  chunked,
  trailers,
  chunkBytes,
}: typeof framed extends fc.Arbitrary<infer T> ? T : never): string {
  if (!chunked) return `Content-Length: ${body.length}\r\n\r\n${body}`;
  let text = 'Transfer-Encoding: chunked\r\n\r\n';
  for (let at = 0; at < body.length; at += chunkBytes) {
    const chunk = body.slice(at, at + chunkBytes);
    text += `${chunk.length.toString(16)};x=y\r\n${chunk}\r\n`;
  }
  return `${text}0\r\n${trailers ? 'X-Sum: 1\r\n' : ''}\r\n`;
}

const exchange: fc.Arbitrary<Model> = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'M-SEARCH'),
    status: fc.constantFrom(200, 201, 204, 304, 404, 503),
    request: fc.option(framed),
    response: framed,
    interim: fc.boolean(),
    upgrade: fc.boolean(),
    session: fc.nat(3),
  })
  .map(({ method, status, request, response, interim, upgrade, session }) => {
    const bodiless = method === 'HEAD' || status === 204 || status === 304;
    const extra = upgrade ? 'Connection: upgrade\r\nUpgrade: h2c\r\n' : '';
    const answer = bodiless ? `Content-Length: ${response.body.length}\r\n\r\n` : withBody(response);
    return {
      client: `${method} /v2/models/m/infer HTTP/1.1\r\nHost: m\r\nX-Session-Id: ${session}\r\n${extra}${request === null ? '\r\n' : withBody(request)}`,
      server: `${interim ? 'HTTP/1.1 100 Continue\r\n\r\n' : ''}HTTP/1.1 ${status} X\r\n${answer}`,
      method,
      status,
      requestBody: request?.body ?? '',
      responseBody: bodiless ? '' : response.body,
    };
  });

/** Cuts a text at the given places (shares of its length), dropping empty pieces. */
function cut(text: string, places: readonly number[]): string[] {
  const at = [...places.map((place) => Math.floor(place * text.length)), 0, text.length].sort(
    (a, b) => a - b,
  );
  return at.slice(1).flatMap((end, index) => (end > (at[index] ?? 0) ? [text.slice(at[index], end)] : []));
}

const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });
const uncut: readonly number[] = [];
const closing = fc.constantFrom(
  'client_end',
  'client_reset',
  'server_end',
  'server_reset',
  'shutdown' as const,
);

describe('the account of a connection', () => {
  it('reads back every exchange exactly, one after the other, however its bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(exchange, places, places), { maxLength: 6 }), closing, (models, how) => {
        const feed = new Feed();
        for (const [model, clientPlaces, serverPlaces] of models) {
          for (const piece of cut(model.client, clientPlaces)) feed.client(piece);
          for (const piece of cut(model.server, serverPlaces)) feed.server(piece);
        }
        feed.close(how);
        feed.assertSettled();
        expect(feed.exchanges.map(read)).toEqual(models.map(([model]) => expected(model)));
        expect(feed.settlements.every((settled) => settled.kind === 'recorded')).toBe(true);
      }),
      { numRuns: repeated(25, 300) },
    );
  });

  it('reads back pipelined exchanges exactly, however either side is cut', () => {
    fc.assert(
      fc.property(
        fc.array(exchange, { minLength: 1, maxLength: 6 }),
        places,
        places,
        (models, some, others) => {
          const feed = new Feed();
          for (const piece of cut(models.map((model) => model.client).join(''), some)) feed.client(piece);
          for (const piece of cut(models.map((model) => model.server).join(''), others)) feed.server(piece);
          feed.close('client_end');
          feed.assertSettled();
          expect(feed.exchanges.map(read)).toEqual(models.map(expected));
        },
      ),
      { numRuns: repeated(20, 200) },
    );
  });

  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('exchange' as const),
        model: exchange,
        some: places,
        others: places,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('half' as const),
        model: exchange,
        share: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('gap' as const),
        client: fc.nat(500),
        server: fc.nat(500),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('noise' as const), bytes: body, fromClient: fc.boolean() }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom('clientEnd' as const, 'serverEnd' as const) }),
    },
  );

  /** What is left out on purpose: nothing, by rules, by session, by exchange. */
  const leavingOut = fc.record({
    skip: fc.constantFrom([], ['method:PUT'], ['path:/v2/*']),
    share: fc.constantFrom(1, 0.5, 0.000_001),
    session: fc.constantFrom([], ['x-session-id'], ['json:/a', 'x-session-id']),
  });

  it('settles every byte and turn exactly once, in order, through gaps, halves, noise and any end', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 12 }),
        closing,
        fc.constantFrom(2_500, 6_000, 1 << 20),
        leavingOut,
        (steps, how, budgetBytes, { skip, share, session }) => {
          const budget = new AssemblyBudget(budgetBytes);
          const selection = { skip: new SkipRules(skip), sampling: new Sampling(share, 7) };
          const keys = new ExchangeKeys({ session, client: ['peer'] }, HASH);
          const feed = new Feed({ budget, selection, keys });
          for (const taken of steps) {
            if (taken.kind === 'exchange') {
              for (const piece of cut(taken.model.client, taken.some)) feed.client(piece);
              for (const piece of cut(taken.model.server, taken.others)) feed.server(piece);
            } else if (taken.kind === 'half') {
              const { client, server } = taken.model;
              feed.client(client.slice(0, 1 + Math.floor(taken.share * client.length)));
              feed.server(server.slice(0, 1 + Math.floor(taken.share * server.length)));
            } else if (taken.kind === 'gap') {
              feed.gap('queue_bytes', taken.client, taken.server);
            } else if (taken.kind === 'noise') {
              if (taken.fromClient) feed.client(taken.bytes);
              else feed.server(taken.bytes);
            } else if (taken.kind === 'clientEnd') feed.clientEnd();
            else feed.serverEnd();
            expect(budget.usedBytes).toBeLessThanOrEqual(budgetBytes);
          }
          feed.close(how);
          feed.assertSettled();
          for (const settled of feed.settlements) {
            if (settled.kind === 'omitted') expect(OMISSION_CAUSES).toContain(settled.because);
          }
        },
      ),
      { numRuns: repeated(80, 1_000) },
    );
  });

  it('counts each whole exchange once, as recorded or as left out, and leaves out the same ones however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(exchange, { minLength: 1, maxLength: 8 }),
        places,
        leavingOut,
        (models, cuts, left) => {
          const fates = [uncut, cuts].map((at) => {
            const selection = { skip: new SkipRules(left.skip), sampling: new Sampling(left.share, 7) };
            const feed = new Feed({
              selection,
              keys: new ExchangeKeys({ session: left.session, client: [] }, HASH),
            });
            for (const [index, model] of models.entries()) {
              for (const piece of cut(model.client, at)) feed.at(1e9 * (index + 1)).client(piece);
              for (const piece of cut(model.server, at)) feed.server(piece);
            }
            feed.close('client_end');
            feed.assertSettled();
            expect(feed.settlements).toHaveLength(models.length);
            const skipped = feed.fates.filter((fate) => fate === 'omitted skip_rule').length;
            const wanted = models.filter(
              ({ method }) =>
                left.skip[0] === 'path:/v2/*' || (left.skip[0] !== undefined && method === 'PUT'),
            );
            expect(skipped).toBe(wanted.length);
            if (left.share === 1) expect(feed.exchanges).toHaveLength(models.length - skipped);
            return feed.fates;
          });
          expect(fates[1]).toEqual(fates[0]);
        },
      ),
      { numRuns: repeated(20, 200) },
    );
  });

  it('records only whole truths after a gap: what is recorded is one of the exchanges that were sent', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(exchange, fc.boolean(), places), { minLength: 1, maxLength: 8 }),
        (models) => {
          const feed = new Feed();
          for (const [model, shed, some] of models) {
            const [first = '', ...rest] = cut(model.client, some);
            feed.client(first);
            if (shed) feed.gap('queue_bytes', rest.join('').length, 0);
            else for (const piece of rest) feed.client(piece);
            feed.server(model.server);
          }
          feed.close('client_end');
          feed.assertSettled();
          const sent = models.map(([model]) => JSON.stringify(expected(model)));
          for (const recorded of feed.exchanges) expect(sent).toContain(JSON.stringify(read(recorded)));
        },
      ),
      { numRuns: repeated(25, 300) },
    );
  });
});

function expected(model: Model) {
  const { method, status, requestBody, responseBody } = model;
  return { method, status, requestBody, responseBody, outcome: 'completed' };
}

function read(recorded: Feed['exchanges'][number]) {
  return {
    method: recorded.method,
    status: recorded.status,
    requestBody: latin1(recorded.request?.body.kept ?? null),
    responseBody: latin1(recorded.response?.body.kept ?? null),
    outcome: recorded.outcome,
  };
}
