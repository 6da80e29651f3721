import type { Run, Send } from '../../src/core/run.ts';

const MS = 1e6;

/** A completed send: sent on time, answered after 10 ms. Override times in nanoseconds. */
export function send(facts: Partial<Send> & { index: number }): Send {
  const intendedOffsetNs = facts.intendedOffsetNs ?? facts.index * 100 * MS;
  const actualOffsetNs = facts.actualOffsetNs === undefined ? intendedOffsetNs : facts.actualOffsetNs;
  const left = actualOffsetNs ?? 0;
  return {
    segment: '20261124T15-7f3a9c21-0001.sqlite',
    exchangeId: facts.index + 1,
    route: 'POST /v2/models/{model}/infer',
    model: 'resnet',
    client: null,
    requestBytes: 100,
    intendedOffsetNs,
    actualOffsetNs,
    connectionWaitNs: null,
    startOffsetNs: actualOffsetNs === null ? null : left + MS,
    writeNs: actualOffsetNs === null ? null : 0,
    pausedNs: actualOffsetNs === null ? null : 0,
    firstByteOffsetNs: actualOffsetNs === null ? null : left + 9 * MS,
    lastByteOffsetNs: actualOffsetNs === null ? null : left + 10 * MS,
    status: actualOffsetNs === null ? null : 200,
    responseBytes: 20,
    error: null,
    refused: false,
    warmup: false,
    cancelled: false,
    streamed: false,
    unstreamed: false,
    answer: null,
    ...facts,
  };
}

export function refused(index: number, facts: Partial<Send> = {}): Send {
  return send({ index, actualOffsetNs: null, refused: true, ...facts });
}

/** A send without an answer, which was given up 50 ms after the send. */
export function failed(index: number, facts: Partial<Send> = {}): Send {
  const base = send({ index, ...facts });
  const left = base.actualOffsetNs ?? 0;
  return { ...base, status: null, error: 'reset', lastByteOffsetNs: left + 50 * MS, ...facts };
}

export function run(facts: Partial<Run> = {}): Run {
  return {
    id: '01JDTEST',
    version: '0.1.0',
    capture: '/captures/monday',
    target: 'http://127.0.0.1:8000',
    startedAtUs: 1_794_000_000_000_000,
    endedAtUs: 1_794_000_060_000_000,
    options: { multiplier: 1.5 },
    ...facts,
  };
}
