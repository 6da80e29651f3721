import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { trustedLatencyMs } from '../../src/analysis/metrics/answer-times.ts';
import { RunStatistics } from '../../src/analysis/run/run-statistics.ts';
import type { MergedDocument, ReplayDocument } from '../../src/documents/replay.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, type Replayed, replay, serverOf } from '../support/replaying.ts';
import { send } from '../support/sends.ts';
import { recordedOf, shardRun } from '../support/shard-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Requests of thirty sessions, and some of none, to three models with bodies of many sizes. */
function capture(): string {
  return captureOf(
    Array.from({ length: 240 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 2_000 - (at % 7 === 0 ? 1_000 : 0),
        session: at % 10 === 9 ? null : Buffer.from([at % 30, 5, 4, 3, (at % 30) * 8, 2, 1, at % 30]),
        request: requestMessage({
          target: `/v2/models/m${at % 3}/infer?n=${at}`,
          body: `{"data":"${'x'.repeat((at * 37) % 900)}"}`,
        }),
      }),
    ),
  );
}

type Merged = ReplayDocument & { readonly merged: MergedDocument };

function sendsOf({ out }: Pick<Replayed, 'out'>): string[] {
  const reader = new RunReader(out);
  const names = [...reader.sends()].map(
    ({ exchangeId, intendedOffsetNs, route, model, requestBytes, status }) =>
      [exchangeId, intendedOffsetNs, route, model, requestBytes, status].join(' '),
  );
  reader.close();
  return names.sort();
}

async function merge(runs: readonly Pick<Replayed, 'out'>[], args: readonly string[] = []) {
  const out = join(temporaryDirectory(), 'merged');
  const result = await runReprise(['merge', ...runs.map((run) => run.out), '--out', out, '--json', ...args]);
  return { ...result, out };
}

describe('a replay by three processes', () => {
  it('sends together what one sends, and is merged into one run that is judged', async () => {
    const server = await serverOf();
    const directory = capture();
    const plan = ['--multiplier', '1.5', '--scaling', 'amplify', '--json'];
    const [whole, ...shards] = await Promise.all([
      replay(directory, server.url, plan),
      ...[0, 1, 2].map((index) => replay(directory, server.url, [...plan, '--shard', `${index}/3`])),
    ]);
    const one = documentOf(whole);
    const result = await merge(shards, ['--slo', 'latency: p(90)<60000']);
    const together = documentOf(result) as Merged;
    expect(sendsOf(result)).toEqual(sendsOf(whole));
    const counts = ({
      recorded,
      planned,
      sent,
      completed,
      failed,
      statuses,
      effectiveMultiplier,
    }: ReplayDocument) => ({
      recorded,
      planned,
      sent,
      completed,
      failed,
      statuses,
      effectiveMultiplier,
    });
    expect(Object.keys(together).sort()).toEqual(Object.keys(one).sort());
    expect(counts(together)).toEqual(counts(one));
    expect(together.fidelity.planned).toEqual(one.fidelity.planned);
    expect(together.fidelity.recordedToPlanned).toEqual(one.fidelity.recordedToPlanned);
    expect(together.fidelity.mixDistance).toBe(0);
    expect(together.merged).toMatchObject({ count: 3, missing: [], clockSkew: { betweenHostsUs: 0 } });
    expect(together.slo.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(result.status).toBe(together.verdict === 'PASS' ? 0 : 4);
    expect(JSON.parse(readFileSync(join(result.out, 'summary.json'), 'utf8'))).toEqual(together);

    const [first, second] = shards as [Replayed, Replayed];
    const part = await merge([first, second]);
    expect(part.status).toBe(4);
    expect(documentOf(part).reasons.map(({ code }) => code)).toContain('shards_missing');
    const other = await replay(directory, server.url, [...plan, '--shard', '2/3', '--seed', '9']);
    const refused = await merge([first, second, other]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('different plans');
    expect(existsSync(refused.out)).toBe(false);
  });

  it('has the intervals of percentiles that one process has, which shards kept for themselves', async () => {
    const whole = Array.from({ length: 4_200 }, (_, index) => {
      const intendedOffsetNs = Math.round(index * 3.5e6);
      const actualOffsetNs = intendedOffsetNs + 100_000;
      // Slower by the second, so that the windows differ and the interval is none of one point.
      // Without an order within it, which would be taken for a queue.
      const scattered = Math.imul(index + 1, 2_654_435_761) >>> 0;
      const lastByteOffsetNs = actualOffsetNs + 10e6 + (scattered % 97) * 1e4 + Math.floor(index / 300) * 1e3;
      return send({ index, intendedOffsetNs, actualOffsetNs, lastByteOffsetNs });
    });
    const statistics = new RunStatistics();
    for (const each of whole) statistics.addPlanned(recordedOf(each), each.intendedOffsetNs);
    statistics.addSends(whole);
    const { latency } = statistics.figures();
    const shards = [0, 1].map((shard) => {
      const own = whole.filter(({ index }) => index % 2 === shard);
      const sends = own.map((each, index) => ({ ...each, index }));
      return { out: shardRun([shard, 2], sends, whole) };
    });
    const { latencyMs } = documentOf(await merge(shards));
    const { scheduled, service, byWindow } = latency;
    expect(latencyMs.service.p99Interval?.[0]).toBeGreaterThan(10);
    expect(latencyMs).toEqual({
      scheduled: trustedLatencyMs(scheduled, byWindow.scheduled),
      service: trustedLatencyMs(service, byWindow.service),
    });
  });
});
