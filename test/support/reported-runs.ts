import { join } from 'node:path';
import { buildReport } from '../../src/analysis/report/build-report.ts';
import { type RecordedAnswer, ReportStatistics } from '../../src/analysis/report/statistics.ts';
import { RunStatistics, totalsOf } from '../../src/analysis/run/run-statistics.ts';
import { type ReplaySummaryInput, summariseReplay } from '../../src/analysis/verdict/summary.ts';
import { SeededRandom } from '../../src/core/random.ts';
import type { Run, Send, SendAnswer } from '../../src/core/run.ts';
import { type Objective, parseObjectives } from '../../src/documents/metrics/objectives.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import type { ReportDocument } from '../../src/documents/report.ts';
import { SqliteRunStore } from '../../src/storage/runs/store.ts';
import { exchangeRow } from './exchange-row.ts';
import { HEALTHY } from './run-contexts.ts';
import { failed, refused, run, send } from './sends.ts';
import { temporaryDirectory } from './temp-dir.ts';

const MS = 1e6;

/** Names that would do harm if they were not escaped. */
export const HOSTILE_ROUTE =
  'GET /a|b</script><img src=x onerror=alert(1)>\u001b[31m\u202e\n# [x](javascript:alert(2))';
export const HOSTILE_MODEL = '@everyone `<b>` ![i](http://evil.example/x.png) www.evil.example $x$';

export interface RunFacts extends Partial<Omit<ReplaySummaryInput, 'run' | 'figures' | 'objectives'>> {
  readonly run?: Partial<Run>;
  readonly slo?: readonly string[];
}

/** The summary that `replay` would write for these sends. */
export function summaryOf(
  sends: readonly Send[],
  { run: facts, slo, ...input }: RunFacts = {},
): ReplayDocument {
  const objectives = parseObjectives(slo ?? []);
  return summariseReplay({ ...inputOf(sends, input, objectives), run: run(facts), objectives });
}

function inputOf(
  sends: readonly Send[],
  input: RunFacts,
  objectives: readonly Objective[] = [],
): Omit<ReplaySummaryInput, 'run' | 'objectives'> {
  return {
    figures: figuresOf(sends, objectives),
    multiplier: 1.5,
    scaling: 'compress',
    skipped: { incomplete_request: 0, truncated_request: 3, no_payload: 0 },
    unreplayable: 0,
    coverage: { share: 1, unexplained: 0 },
    health: HEALTHY,
    interrupted: null,
    ...input,
  };
}

function figuresOf(sends: readonly Send[], objectives: readonly Objective[] = []) {
  const statistics = new RunStatistics(0, null, { objectives, stageEndsNs: [] });
  for (const each of sends.filter(({ warmup }) => !warmup)) {
    const row = exchangeRow({ arrivalUs: 1.7e15 + Math.round(each.intendedOffsetNs / 1e3), status: 200 });
    statistics.addRecorded(row);
    statistics.addPlanned(row, each.intendedOffsetNs);
  }
  statistics.addSends(sends);
  return statistics.figures();
}

/** The report of these sends, compared with these recorded answers; null for a missing capture. */
export function reportOf(
  sends: readonly Send[],
  facts: RunFacts = {},
  recorded: readonly RecordedAnswer[] | null = null,
): ReportDocument {
  const summary = summaryOf(sends, facts);
  const statistics = statisticsOf(sends, summary.slo, summary.interrupted !== null);
  for (const answer of recorded ?? []) statistics.addRecorded(answer);
  const recording =
    recorded === null
      ? { capture: null, unavailable: 'the capture has moved; name it with --capture' }
      : { capture: '/captures/monday', unavailable: null };
  return buildReport({ directory: 'runs/one', run: run(facts.run), summary, statistics, recording });
}

/** Report statistics of the rows of a run, with the number of seconds as its store counts them. */
export function statisticsOf(sends: readonly Send[], slo: ReplayDocument['slo'] = [], interrupted = false) {
  const ends = sends.map((each) => (each.lastByteOffsetNs ?? each.intendedOffsetNs) / 1e9);
  const statistics = new ReportStatistics(Math.floor(Math.max(-1, ...ends)) + 1, slo, interrupted);
  for (const each of sends) statistics.addSend(each);
  return statistics;
}

/** Stores a run of these sends. @param facts null for an unsealed run without a summary @returns its directory */
export function storedRun(
  sends: readonly Send[],
  facts: RunFacts | null = {},
  more: Partial<ReplayDocument> = {},
): string {
  const directory = join(temporaryDirectory(), 'run');
  const store = new SqliteRunStore(directory);
  store.append(sends);
  if (facts === null) store.close();
  else store.seal(run(facts.run), totalsOf(figuresOf(sends)), { ...summaryOf(sends, facts), ...more });
  return directory;
}

/** Two minutes of mixed traffic: two routes, streams, hostile names, failures, refusals, a slow period. */
export function mixedSends(count = 6_000): Send[] {
  const random = new SeededRandom(11);
  const unit = () => random.nextUint32() / 2 ** 32;
  return Array.from({ length: count }, (_, index) => {
    const intendedOffsetNs = Math.round((index + unit() * 0.9) * 20 * MS);
    if (index % 501 === 7) return refused(index, { intendedOffsetNs });
    if (index % 211 === 5) return failed(index, { intendedOffsetNs });
    if (index % 333 === 9) return send({ index, intendedOffsetNs, status: 503 });
    const slow = index > count * 0.6 && index < count * 0.7 ? 12 : 1;
    const serviceNs = Math.round((8 + 40 * unit() ** 4) * MS * slow);
    const actualOffsetNs = intendedOffsetNs + Math.round(unit() * 0.2 * MS);
    const lastByteOffsetNs = actualOffsetNs + serviceNs;
    const isStream = index % 3 === 0;
    return send({
      index,
      intendedOffsetNs,
      actualOffsetNs,
      lastByteOffsetNs,
      requestBytes: 64 << (index % 7),
      ...(isStream ? { route: 'POST /v1/chat/completions', model: 'llama-3.1-8b', streamed: true } : {}),
      ...(index % 97 === 3 ? { route: HOSTILE_ROUTE, model: HOSTILE_MODEL } : {}),
      answer: isStream ? answerOf(actualOffsetNs, lastByteOffsetNs) : null,
    });
  });
}

function answerOf(fromNs: number, toNs: number): SendAnswer {
  return {
    firstTokenOffsetNs: fromNs + Math.round((toNs - fromNs) / 4),
    lastTokenOffsetNs: toNs,
    contentEvents: 10,
    gapMaxNs: MS,
    gaps: null,
    promptTokens: 20,
    outputTokens: 10,
    finish: 'stop',
  };
}

/** The recorded answers for these sends, each with this latency. */
export function recordedOf(sends: readonly Send[], latencyMs: number): RecordedAnswer[] {
  return sends.map(({ segment, exchangeId, route, model, streamed }) => ({
    segment,
    id: exchangeId,
    route,
    model,
    streamed,
    outcome: 'completed',
    status: 200,
    lastByteOffsetUs: latencyMs * 1e3,
    firstTokenOffsetUs: latencyMs * 250,
  }));
}

/** A long run on disk, and the scheduled latencies of its completed requests. */
export interface LongRun {
  readonly directory: string;
  readonly scheduledMs: Float64Array;
}

/** Writes many rows over some hours in batches, as a replay does, with streams, failures and many names. */
export function storeLongRun(rows: number): LongRun {
  const directory = join(temporaryDirectory(), 'run');
  const store = new SqliteRunStore(directory);
  const statistics = new RunStatistics();
  const random = new SeededRandom(13);
  const unit = () => random.nextUint32() / 2 ** 32;
  const scheduledMs = new Float64Array(rows);
  let completed = 0;
  let batch: Send[] = [];
  for (let index = 0; index < rows; index += 1) {
    const intendedOffsetNs = Math.round((index + unit()) * 10 * MS);
    const serviceNs = Math.round((5 + 60 * unit() ** 8 + 20 * Math.max(0, Math.sin(index / 5e4))) * MS);
    const sent = {
      index,
      intendedOffsetNs,
      lastByteOffsetNs: intendedOffsetNs + serviceNs,
      route: `POST /v2/models/m${index % 130}/infer`,
      model: `m${index % 130}`,
      requestBytes: 64 << (index % 12),
      ...(index % 3 === 0
        ? { streamed: true, answer: answerOf(intendedOffsetNs, intendedOffsetNs + serviceNs) }
        : {}),
    };
    const row = index % 1_009 === 0 ? failed(index, { intendedOffsetNs }) : send(sent);
    if (row.error === null) {
      scheduledMs[completed] = serviceNs / MS;
      completed += 1;
    }
    statistics.addPlanned(exchangeRow({ requestBytes: row.requestBytes }), intendedOffsetNs);
    batch.push(row);
    if (batch.length < 4_096 && index < rows - 1) continue;
    statistics.addSends(batch);
    store.append(batch);
    batch = [];
  }
  const figures = statistics.figures();
  const summary = summariseReplay({
    ...inputOf([], {}),
    figures,
    run: run(),
    objectives: parseObjectives(['latency: p(99)<200']),
  });
  store.seal(run(), totalsOf(figures), summary);
  return { directory, scheduledMs: scheduledMs.subarray(0, completed) };
}
