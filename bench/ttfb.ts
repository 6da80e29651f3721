/**
 * How much later does the first byte of an answer come? Contenders: direct, nginx (`proxy_request_buffering off`), a
 * bare Node socket pipe and `reprise record`, interleaved, one request at a time. Bodies have 1 KB, 100 KB and 5 MiB,
 * and 1 KB with 500 event streams through the same contender.
 *
 * Lost data cost less than recorded data. So bodies of 5 MiB come 20 ms after each answer, a rate that two cores can
 * record completely, and once more almost without a pause; then the losses are shown too. A figure with losses is not
 * judged. With five rounds or more, all other figures must be within their bounds.
 *
 *   node bench/ttfb.ts [--rounds 12] [--requests 40] [--streams 500]
 *
 * Client, streams, upstream and contenders are separate processes. A figure is the median, over all rounds, of the time
 * from the first byte of a request to the first byte of its answer, minus that of direct in the same round.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Contender,
  direct,
  helper,
  type RecordingContender,
  settled,
  startNginx,
  startPipe,
  startRecorder,
} from './support/contenders.ts';
import { type Bounded, withinBounds } from './support/judgement.ts';
import { median } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '12' },
    requests: { type: 'string', default: '40' },
    streams: { type: 'string', default: '500' },
  },
});
const ROUNDS = Number(flags.rounds);
const REQUESTS = Number(flags.requests);
const STREAMS = Number(flags.streams);

interface Case {
  readonly name: string;
  readonly bodyBytes: number;
  readonly streams: number;
  readonly pauseMs: number;
  /** Limit of the added time, ms; null for a case without a limit. */
  readonly bound: number | null;
}
const MIB = 1_024 * 1_024;
const CASES: readonly Case[] = [
  { name: '1 KB', bodyBytes: 1_024, streams: 0, pauseMs: 1, bound: 0.3 },
  { name: '100 KB', bodyBytes: 100 * 1_024, streams: 0, pauseMs: 1, bound: 0.3 },
  { name: '5 MiB', bodyBytes: 5 * MIB, streams: 0, pauseMs: 20, bound: 4 },
  { name: '5 MiB, hardly a pause', bodyBytes: 5 * MIB, streams: 0, pauseMs: 1, bound: null },
  { name: `1 KB, ${STREAMS} streams`, bodyBytes: 1_024, streams: STREAMS, pauseMs: 1, bound: 1 },
];

async function ask<Answer>(child: ChildProcess, message: object): Promise<Answer> {
  child.send(message);
  const [answer] = (await once(child, 'message')) as [Answer];
  return answer;
}

/** Runs the bench with all contenders in front of one upstream, and stops them. */
async function beside<Result>(
  upstream: { child: ChildProcess; port: number },
  run: (contenders: readonly Contender[], recorder: RecordingContender) => Promise<Result>,
): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'reprise-ttfb-'));
  const nginx = await startNginx(upstream.port, directory);
  const recorder = await startRecorder(upstream.port, directory);
  const contenders = [
    direct(upstream.port),
    ...(nginx ? [nginx] : []),
    await startPipe(upstream.port),
    recorder,
  ];
  try {
    return await run(contenders, recorder);
  } finally {
    for (const contender of contenders) await contender.stop();
    upstream.child.disconnect();
    rmSync(directory, { recursive: true });
  }
}

/** Prints a note if data were lost, because lost data cost less than recorded data. */
function noteLost(name: string, lost: number): void {
  if (lost > 0)
    console.log(`not judged: of ${name} ${lost} were lost, so that it is no figure of a recording`);
}

interface Added {
  /** By name: the whole time for direct, and the added time for the others. */
  readonly ms: Readonly<Record<string, number>>;
  readonly lost: number;
}

async function addedFirstByteMs(
  contenders: readonly Contender[],
  recorder: RecordingContender,
  one: Case,
): Promise<Added> {
  const lostBefore = recorder.lostTurns();
  const times = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { name, port } of contenders) {
      await ask(streams, { port, streams: one.streams });
      const job = { port, bodyBytes: one.bodyBytes, count: REQUESTS, pauseMs: one.pauseMs };
      const { latenciesUs } = await ask<{ latenciesUs: number[] }>(client, job);
      await ask(streams, { port, streams: 0 });
      times.get(name)?.push(median(latenciesUs) / 1_000);
    }
  }
  await settled(recorder);
  const lost = recorder.lostTurns() - lostBefore;
  noteLost(one.name, lost);
  const base = times.get('direct') ?? [];
  const added = [...times].map(([name, each]) => [
    name === 'direct' ? 'direct, whole' : name,
    Number(median(name === 'direct' ? each : each.map((ms, at) => ms - (base[at] ?? 0))).toFixed(3)),
  ]);
  return { ms: Object.fromEntries(added), lost };
}

/** The bounded figure; empty for a case without a limit. Its value is null if data were lost. */
function boundedFirstByte(one: Case, { ms, lost }: Added): readonly Bounded[] {
  if (one.bound === null) return [];
  const value = lost > 0 ? null : (ms['record'] ?? Number.NaN);
  return [{ figure: `ms added to the first byte, ${one.name}`, bound: one.bound, value }];
}

const client = fork(new URL('./support/first-byte-client.ts', import.meta.url));
const streams = fork(new URL('./support/stream-holder.ts', import.meta.url));
const firstBytes = await beside(await helper('first-byte-server', []), async (contenders, recorder) => {
  const each: { one: Case; added: Added }[] = [];
  for (const one of CASES) each.push({ one, added: await addedFirstByteMs(contenders, recorder, one) });
  return each;
});
client.disconnect();
streams.disconnect();
console.log(`added time to first byte, ms, p50, medians of ${ROUNDS} rounds of ${REQUESTS}`);
const rows = firstBytes.map(({ one, added }) => ({ case: one.name, ...added.ms, lost: added.lost }));
console.table(rows);
console.log(JSON.stringify({ bench: 'ttfb', rounds: ROUNDS, firstBytes: rows }));
const figures = firstBytes.flatMap(({ one, added }) => boundedFirstByte(one, added));
process.exitCode = withinBounds(ROUNDS, figures) ? 0 : 1;
