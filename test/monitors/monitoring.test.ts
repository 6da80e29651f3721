import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { type KeptSample, Monitoring } from '../../src/monitors/monitoring.ts';
import { type Look, type MonitorSource, NoSuchSource, readingOf } from '../../src/monitors/source.ts';
import { ManualClock } from '../support/manual-clock.ts';

const S = 1e9;
/** No look comes due by itself in a test. */
const NEVER_MS = 2 ** 31 - 1;

type Answer = () => Look | Promise<Look>;

/** Looks give the answers in turn, and `more` where they go on; the clock moves by a second at each. */
async function monitored(
  answers: readonly Answer[],
  parts: Partial<MonitorSource> & { readonly keep?: () => void } = {},
  more: readonly Answer[] = [],
  stepNs = S,
) {
  const clock = new ManualClock(0);
  const { keep = () => undefined, ...facts } = parts;
  let looks = 0;
  const source: MonitorSource = {
    name: 'server',
    kind: 'scrape',
    address: null,
    intervalMs: NEVER_MS,
    look: async () => {
      const answer = [...answers, ...more][looks++];
      clock.advance(stepNs);
      if (answer === undefined) throw new Error('refused');
      return answer();
    },
    ...facts,
  };
  const series: string[] = [];
  const samples: KeptSample[] = [];
  const notes: string[] = [];
  const monitoring = new Monitoring({
    sources: [source],
    clock,
    startNs: () => 0,
    note: (line) => notes.push(line),
    sink: {
      addSeries: (_, from, { name }) => series.push(`${from}: ${name}`),
      addSamples: (kept) => {
        keep();
        samples.push(...kept);
      },
    },
  });
  // A round is two looks: the one that begins it, and the one after it.
  for (let round = 0; round < answers.length / 2; round += 1) {
    monitoring.begin();
    await monitoring.end();
  }
  return { samples, series, notes, source: monitoring.sources[0] };
}

const gauge = (name: string, value: number) =>
  readingOf({ name, metric: name, kind: 'gauge', unit: 'count', value });
const look = (...readings: ReturnType<typeof gauge>[]): Look => ({ readings, ageMs: null, unknown: 0 });

test('a look stands at its middle, on the clock of the run', async () => {
  const { samples, series } = await monitored([() => look(gauge('a', 1)), () => look(gauge('a', 2))]);
  expect(series).toEqual(['server: a']);
  expect(samples).toEqual([
    { series: 0, offsetNs: 0.5 * S, value: 1, base: null },
    { series: 0, offsetNs: 1.5 * S, value: 2, base: null },
  ]);
});

test('a look that failed is null in every series, and so is one that is missing in an answer', async () => {
  const { samples, source } = await monitored([
    () => look(gauge('a', 1), gauge('b', 1)),
    () => Promise.reject(new Error('reset')),
    () => look(gauge('a', 2)),
    () => look(gauge('a', 3), gauge('b', 3)),
  ]);
  const of = (series: number) => samples.filter((each) => each.series === series).map(({ value }) => value);
  expect([of(0), of(1)]).toEqual([
    [1, null, 2, 3],
    [1, null, null, 3],
  ]);
  expect(source).toMatchObject({ looks: 4, failed: 1, lastError: 'reset', off: null });
});

test('looks that failed before a series was first seen are missed in it', async () => {
  const no = () => Promise.reject(new Error('refused'));
  const { samples } = await monitored([no, no, () => look(gauge('a', 1)), () => look(gauge('a', 2))]);
  const byTime = samples.toSorted((a, b) => a.offsetNs - b.offsetNs);
  expect(byTime.map(({ offsetNs, value }) => [offsetNs / S, value])).toEqual([
    [0.5, null],
    [1.5, null],
    [2.5, 1],
    [3.5, 2],
  ]);
});

test('looks that failed before a pod was there are missed in those that were', async () => {
  const no = () => Promise.reject(new Error('refused'));
  const pod = (name: string) => ({ ...gauge('a', 1), labels: { pod: name } });
  const { samples } = await monitored([no, () => look(pod('a')), no, () => look(pod('a'), pod('b'))]);
  const of = (series: number) =>
    samples
      .filter((each) => each.series === series)
      .map(({ offsetNs, value }) => [offsetNs / S, value])
      .sort(([a], [b]) => (a ?? 0) - (b ?? 0));
  expect(of(0)).toEqual([
    [0.5, null],
    [1.5, 1],
    [2.5, null],
    [3.5, 1],
  ]);
  expect(of(1)).toEqual([
    [2.5, null],
    [3.5, 1],
  ]);
});

test('a counter that a server tells of from its first event on had counted nothing before', async () => {
  const counter = { ...gauge('served', 5), kind: 'counter' as const };
  const { samples } = await monitored([() => look(gauge('a', 1)), () => look(gauge('a', 1), counter)]);
  expect(samples.filter(({ series }) => series === 1)).toEqual([
    { series: 1, offsetNs: 0.5 * S, value: 0, base: null },
    { series: 1, offsetNs: 1.5 * S, value: 5, base: null },
  ]);
});

test('pods that are gone from the answer of a Prometheus are no failed look, and a value that is gone is', async () => {
  const pod = (name: string) => ({ ...gauge('cpu', 1), labels: { pod: name } });
  const { samples } = await monitored(
    [() => look(pod('a'), pod('b'), gauge('sum', 2)), () => look(pod('b'))],
    {
      kind: 'prometheus',
    },
  );
  expect(samples.map(({ series, value }) => [series, value])).toEqual([
    [0, 1],
    [1, 1],
    [2, 2],
    [1, 1],
    [2, null],
  ]);
});

test('the only pod that is gone from the answer of a Prometheus is missed, whatever other queries find', async () => {
  const pod = { ...gauge('queue', 1), labels: { pod: 'a' } };
  const { samples } = await monitored(
    [() => look(pod, gauge('sum', 2)), () => look({ ...gauge('other', 1), labels: { pod: 'b' } })],
    { kind: 'prometheus' },
  );
  expect(samples.filter(({ series }) => series === 0).map(({ value }) => value)).toEqual([1, null]);
});

/** A value that a Prometheus scraped at this second of its own clock, which is a day ahead, so long before the look. */
const scraped = (value: number, atS: number, ageS: number, kind: 'gauge' | 'counter' = 'gauge') => ({
  ...gauge('a', value),
  kind,
  scrape: { atMs: (86_400 + atS) * 1e3, ageMs: ageS * 1e3 },
});
const PROMETHEUS = { kind: 'prometheus' } as const;

test('each scrape of a Prometheus counts once, where it was scraped; one that stays the last is missed', async () => {
  const { samples } = await monitored(
    [
      () => look(scraped(1, 0.2, 0.3)),
      () => look(scraped(1, 0.2, 1.3)),
      () => look(scraped(2, 2.2, 0.3)),
      () => look(scraped(2, 2.2, 3.9)),
      () => look(scraped(2, 2.2, 4.1)),
      () => look(scraped(3, 5.2, 0.3)),
    ],
    PROMETHEUS,
  );
  expect(samples.map(({ offsetNs, value }) => [offsetNs / S, value])).toEqual([
    [0.2, 1],
    [2.2, 2],
    [4.5, null],
    [5.2, 3],
  ]);
});

test('the end waits for a scrape of a counter that is newer than the run, and not without end', async () => {
  const old = () => look(scraped(5, 0.2, 0.3, 'counter'));
  const stale = () => look(scraped(5, 0.2, 1.3, 'counter'));
  // The run ended in second 1, before the last look of all.
  const { samples } = await monitored([old, stale], PROMETHEUS, [
    () => look(scraped(7, 0.9, 1.6, 'counter')),
    () => look(scraped(9, 3.1, 0.4, 'counter')),
    () => look(scraped(11, 4.1, 0.4, 'counter')),
  ]);
  expect(samples.map(({ offsetNs, value }) => [offsetNs / S, value])).toEqual([
    [0.2, 5],
    [0.9, 7],
    [3.1, 9],
  ]);
  const never = await monitored([old, stale], PROMETHEUS, new Array(99).fill(stale), 10 * S);
  expect(never.source?.looks).toBeLessThan(9);
});

test('what is no source at its first answer is switched off with one line; later it is a failure', async () => {
  const no = () => Promise.reject(new NoSuchSource('no Prometheus text'));
  const never = await monitored([no, no, no, no]);
  expect(never.notes).toEqual(['Monitor server is switched off: no Prometheus text']);
  expect(never.source).toMatchObject({ looks: 1, failed: 1, off: 'no Prometheus text' });
  const once = await monitored([() => look(gauge('a', 1)), no]);
  expect(once.source).toMatchObject({ looks: 2, failed: 1, off: null });
});

test('series over the limit of a source are counted, and none of them is kept', async () => {
  const many = Array.from({ length: LIMITS.monitoredSeries + 3 }, (_, at) => gauge(`g${at}`, at));
  const { series, source } = await monitored([() => look(...many), () => look(...many)]);
  expect(series).toHaveLength(LIMITS.monitoredSeries);
  expect(source?.beyond).toBe(3);
});

test('what cannot be kept ends the run where it waits for its monitors', async () => {
  const full = () => {
    throw new Error('disk full');
  };
  const one = () => look(gauge('a', 1));
  await expect(monitored([one, one], { keep: full })).rejects.toThrow('disk full');
});

test('the end waits for a look that is under way, and looks once more', async () => {
  let answer: (look: Look) => void = () => undefined;
  const hanging = new Promise<Look>((resolve) => {
    answer = resolve;
  });
  const waited = monitored([() => hanging, () => look(gauge('a', 2))], { intervalMs: 5 });
  setTimeout(() => answer(look(gauge('a', 1))), 200);
  // The end waits for the look that hangs; looks go on to come due until then.
  const { source, samples } = await waited;
  expect(source).toMatchObject({ looks: 2, failed: 0 });
  expect(samples.map(({ value }) => value)).toEqual([1, 2]);
});
