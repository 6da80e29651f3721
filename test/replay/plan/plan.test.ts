import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { AnswerForecast } from '../../../src/replay/answers/expected-answer.ts';
import type { SendResult } from '../../../src/replay/engine/messages.ts';
import { Outstanding, refusedSend } from '../../../src/replay/engine/outstanding.ts';
import { RateCeiling, TargetFence } from '../../../src/replay/guard.ts';
import { Concurrency } from '../../../src/replay/plan/concurrency.ts';
import { type DryRunParts, dryRun } from '../../../src/replay/plan/dry-run.ts';
import {
  AuditCounter,
  type PlanParts,
  plannedRequests,
  ScalingTally,
} from '../../../src/replay/plan/plan.ts';
import { BodyChanges } from '../../../src/replay/request/body-changes.ts';
import { RequestBuilder } from '../../../src/replay/request/build.ts';
import { parseTarget } from '../../../src/replay/target.ts';
import { probeCapture } from '../../../src/replay/window/probe.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture, requestPayload } from '../../support/memory-capture.ts';
import { scalingAt } from '../../support/scalings.ts';

const RANGE = { fromUs: 0, toUs: Number.MAX_SAFE_INTEGER };
const builder = new RequestBuilder({
  target: { basePath: '' },
  host: 'target',
  addedHeaders: [],
  runId: 'r',
});

function partsOf(source: MemoryCapture, changes: Partial<PlanParts> = {}): PlanParts {
  return {
    source,
    range: RANGE,
    scaling: scalingAt(2),
    tally: new ScalingTally(),
    openSessions: null,
    maxRequests: null,
    builder,
    changes: new BodyChanges({ pinOutputLength: null, requestUsage: false }),
    answers: new AnswerForecast('replay'),
    fence: new TargetFence({
      target: parseTarget('http://staging'),
      productionHosts: [],
      allowedProductionHosts: [],
    }),
    ceiling: new RateCeiling(1_000),
    audit: new AuditCounter(),
    ...changes,
  };
}

/** Five arrivals a second apart: whole, truncated, whole, without payload, trailered. */
function mixedCapture(): MemoryCapture {
  const rows = [{}, { requestTruncated: true }, {}, { requestStored: false }, {}].map((facts, id) =>
    exchangeRow({ id, arrivalUs: 5_000_000 + id * 1_000_000, ...facts }),
  );
  return new MemoryCapture(rows, (row) => {
    const payload = requestPayload(`/${row.id}`, [['Host', `prod-${row.id}`]], 'x');
    if (row.id !== 4 || payload.request === null) return payload;
    return { ...payload, request: { ...payload.request, trailers: Buffer.from('A: 1\r\n') } };
  });
}

function told(): {
  listener: Parameters<typeof plannedRequests>[1];
  recorded: number[];
  planned: number[];
  refused: number[];
} {
  const recorded: number[] = [];
  const planned: number[] = [];
  const refused: number[] = [];
  return {
    recorded,
    planned,
    refused,
    listener: {
      recorded: (row) => recorded.push(row.id),
      planned: ({ row }) => planned.push(row.id),
      refusedByCeiling: ({ row }) => refused.push(row.id),
    },
  };
}

describe('plannedRequests', () => {
  it('sends what can be sent at its own time, and counts the rest by reason', () => {
    const parts = partsOf(mixedCapture());
    const seen = told();
    const requests = [...plannedRequests(parts, seen.listener)];
    expect(requests.map(({ index, intendedOffsetNs, path }) => [index, intendedOffsetNs, path])).toEqual([
      [0, 0, '/0'],
      [1, 1e9, '/2'],
    ]);
    expect(seen.recorded).toEqual([0, 1, 2, 3, 4]);
    expect(seen.planned).toEqual([0, 2]);
    expect(parts.audit.report()).toMatchObject({
      skipped: { truncated_request: 1, no_payload: 1, incomplete_request: 0 },
      unreplayable: 1,
      unreplayableByReason: { trailers: 1 },
    });
  });

  it('refuses what is over the rate ceiling, in its place in the schedule', () => {
    const rows = [0, 1, 2, 3].map((id) => exchangeRow({ id, arrivalUs: 1_000_000 + id }));
    const capture = new MemoryCapture(rows, () => requestPayload('/'));
    const seen = told();
    const requests = [...plannedRequests(partsOf(capture, { ceiling: new RateCeiling(2) }), seen.listener)];
    expect(requests.map(({ index }) => index)).toEqual([0, 1]);
    expect(seen.refused).toEqual([2, 3]);
    expect(seen.planned).toEqual([0, 1]);
  });

  it('plans no more than --max-requests and reads no further', () => {
    const rows = Array.from({ length: 50 }, (_, id) => exchangeRow({ id, arrivalUs: 1 + id }));
    const capture = new MemoryCapture(rows, () => requestPayload('/'));
    const seen = told();
    expect([...plannedRequests(partsOf(capture, { maxRequests: 3 }), seen.listener)]).toHaveLength(3);
    expect(seen.recorded).toEqual([0, 1, 2]);
    expect(capture.payloadsRead).toBe(3);
  });

  it('stops before a request that was recorded under the name of the target', () => {
    const fence = new TargetFence({
      target: parseTarget('http://prod-2'),
      productionHosts: [],
      allowedProductionHosts: [],
    });
    const requests = plannedRequests(partsOf(mixedCapture(), { fence }), told().listener);
    expect(requests.next().value?.path).toBe('/0');
    expect(() => requests.next()).toThrow(expect.objectContaining({ code: 'TARGET_FORBIDDEN' }));
  });
});

describe('probeCapture', () => {
  const WINDOW = { ...RANGE, parts: [RANGE] };

  it('gives the hosts of the first replayable requests and reads no more than it needs', () => {
    expect([...probeCapture(mixedCapture(), WINDOW).authorities]).toEqual(['prod-0', 'prod-2', 'prod-4']);
    const many = Array.from({ length: 1_000 }, (_, id) => exchangeRow({ id }));
    const capture = new MemoryCapture(many, () => requestPayload('/'));
    probeCapture(capture, WINDOW);
    expect(capture.rowsRead).toBe(64);
  });

  it('says why nothing of a window can be sent', () => {
    const capture = new MemoryCapture([
      exchangeRow({ requestStored: false }),
      exchangeRow({ requestStored: false }),
      exchangeRow({ requestTruncated: true }),
    ]);
    expect(() => probeCapture(capture, WINDOW)).toThrow(/1 truncated_request, 2 no_payload/);
  });
});

describe('dryRun', () => {
  async function run(capture: MemoryCapture, changes: Partial<DryRunParts> = {}) {
    const planned: [number, number][] = [];
    const report = await dryRun(
      {
        source: capture,
        range: RANGE,
        scaling: scalingAt(2),
        openSessions: null,
        maxRequests: null,
        ceiling: new RateCeiling(1_000),
        expected: 5,
        arrivalsOnly: false,
        builder,
        ...changes,
      },
      { addRecorded: () => {}, addPlanned: (row, offsetNs) => planned.push([row.id, offsetNs]) },
    );
    return { report, planned };
  }

  it('plans by facts and opens the payloads of a sample', async () => {
    const { report, planned } = await run(mixedCapture());
    expect(planned).toEqual([
      [0, 0],
      [2, 1e9],
      [4, 2e9],
    ]);
    expect(report.audit.skipped).toEqual({ incomplete_request: 0, truncated_request: 1, no_payload: 1 });
    expect(report.payloads).toMatchObject({ sampled: 3, unreplayableByReason: { trailers: 1 } });
  });

  it('opens some 256 payloads of however many', async () => {
    const rows = Array.from({ length: 10_000 }, (_, id) => exchangeRow({ id }));
    const capture = new MemoryCapture(rows, () => requestPayload('/'));
    const { report } = await run(capture, { expected: rows.length });
    expect(report.payloads.sampled).toBe(capture.payloadsRead);
    expect(capture.payloadsRead).toBeGreaterThan(200);
    expect(capture.payloadsRead).toBeLessThanOrEqual(256);
  });

  it('plans arrivals that have no requests where a capture has nothing else', async () => {
    const rows = [1, 2, 3].map((id) => exchangeRow({ id, arrivalUs: id * 1e6, requestStored: false }));
    const { report, planned } = await run(new MemoryCapture(rows), { arrivalsOnly: true });
    expect(planned.map(([id]) => id)).toEqual([1, 2, 3]);
    expect(report.audit.skipped.no_payload).toBe(3);
  });

  it.each<[string, ReturnType<typeof requestPayload>]>([
    ['masked', requestPayload('/', [['Cookie', '***']], '', ['cookie'])],
    [
      'presigned_url',
      requestPayload('/', [], '{"url":"https://b.s3/x?X-Amz-Expires=60&X-Amz-Signature=ab"}'),
    ],
    ['presigned_url', requestPayload('/x?Expires=1700000000&Signature=abc')],
    ['json_web_token', requestPayload('/', [['X-User', 'eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl']])],
    ['timestamp', requestPayload('/', [], '{"created_at": "2026-11-24T10:00:00Z"}')],
    ['timestamp', requestPayload('/', [], '{"timestamp":1764000000}')],
    ['server_issued_id', requestPayload('/', [], '{"previous_response_id": "resp_1"}')],
    ['compressed_body', requestPayload('/', [['Content-Encoding', 'gzip']], '\x1f\x8b')],
  ])('finds %s, and only that', async (finding, payload) => {
    const { report } = await run(new MemoryCapture([exchangeRow()], () => payload));
    const found = Object.entries(report.payloads.found).filter(([, count]) => count > 0);
    expect(found).toEqual([[finding, 1]]);
  });

  it('finds nothing in a plain tensor request', async () => {
    const body = '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.7000000000]}],"id":"a"}';
    const { report } = await run(new MemoryCapture([exchangeRow()], () => requestPayload('/v2', [], body)));
    expect(Object.values(report.payloads.found)).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe('Concurrency', () => {
  it('counts what is open at once, whatever the order of the ends', () => {
    const spans = fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 50 })), {
      minLength: 1,
      maxLength: 100,
    });
    fc.assert(
      fc.property(spans, (unsorted) => {
        const all = unsorted.sort(([a], [b]) => a - b);
        const concurrency = new Concurrency();
        for (const [start, duration] of all) concurrency.add(start, duration);
        const openAt = all.map(([at], index) => {
          const before = all.slice(0, index).filter(([start, duration]) => start + duration > at);
          return before.length + 1;
        });
        expect(concurrency.max).toBe(Math.max(...openAt));
        expect(concurrency.open).toBe(openAt.at(-1));
      }),
    );
  });

  it('says nothing where no duration is known', () => {
    const concurrency = new Concurrency();
    concurrency.add(0, null);
    expect(concurrency.max).toBeNull();
  });
});

describe('Outstanding', () => {
  const row: ExchangeRow = exchangeRow({ id: 7 });
  const result: SendResult = {
    index: 0,
    intendedOffsetNs: 5,
    actualOffsetNs: 6,
    connectionWaitNs: null,
    startOffsetNs: 7,
    writeNs: null,
    pausedNs: 0,
    firstByteOffsetNs: 8,
    lastByteOffsetNs: 9,
    status: 200,
    responseBytes: 3,
    error: null,
    refused: false,
    cancelled: false,
    streamed: null,
    answer: null,
  };

  it('joins each result with its plan once', () => {
    const outstanding = new Outstanding();
    outstanding.add({ index: 0, intendedOffsetNs: 5, row, streams: false });
    expect(outstanding.take(result)).toMatchObject({ exchangeId: 7, segment: row.segment, status: 200 });
    expect(() => outstanding.take(result)).toThrow(/ended twice/);
  });

  it('tells what is due from what is read ahead, and what a stop left', () => {
    const outstanding = new Outstanding();
    for (const index of [0, 1, 2])
      outstanding.add({ index, intendedOffsetNs: index * 10, row, streams: false });
    expect(outstanding.dueAt(10)).toBe(2);
    expect(outstanding.takeUnreached().map(({ index, error, refused }) => [index, error, refused])).toEqual([
      [0, 'stopped', false],
      [1, 'stopped', false],
      [2, 'stopped', false],
    ]);
    expect(outstanding.takeUnreached()).toEqual([]);
    expect(refusedSend({ index: 0, intendedOffsetNs: 5, row, streams: false })).toMatchObject({
      refused: true,
      error: null,
      actualOffsetNs: null,
    });
  });
});
