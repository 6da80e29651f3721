import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { replaySchema } from '../../../src/documents/replay.ts';
import { captureOf } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { dryRunPlan } from '../../support/dry-run-plan.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';

const at = (seconds: number) => new Date(TEST_EPOCH_US / 1e3 + seconds * 1e3).toISOString();

/** A minute of ten requests a second. */
function minute(afterUs = 0, fleetSize: number | null = null): string {
  return captureOf(
    Array.from({ length: 600 }, (_, n) => exchangeOf({ arrivalUs: TEST_EPOCH_US + afterUs + n * 100_000 })),
    { fleetSize },
  );
}

describe('a dry run', () => {
  it('refuses what leaves nothing to judge, as the run does', async () => {
    const capture = minute();
    const from = at(30);
    const refused = { code: 'OPTION_INVALID' };
    await expect(
      dryRunPlan(capture, { maxRequests: '50', warmup: '5s', window: [`${from}..`] }),
    ).rejects.toMatchObject(refused);
    await expect(
      dryRunPlan(capture, { maxRequests: '100', compareAt1x: '20s', window: [`${from}..`] }),
    ).rejects.toMatchObject(refused);
    await dryRunPlan(capture, { maxRequests: '50', window: [`${from}..`] });
  });

  it('leaves of --max-requests what warms up and calibrates, and says what goes before', async () => {
    const from = at(30);
    const flags = { maxRequests: '180', warmup: '5s', compareAt1x: '10s', window: [`${from}..`] };
    const { text, document } = await dryRunPlan(minute(), flags);
    expect(document).toMatchObject({
      planned: 30,
      maxRequests: 180,
      warmup: { askedS: 5, playedS: 5, planned: 50 },
      calibration: { from: at(15).replace('Z', '000Z'), precedesWindow: true, plannedRequests: 100 },
    });
    expect(text).toContain(
      'at most 30 of these are sent: --max-requests 180, minus about 150 for calibration and warm-up',
    );
    expect(text).toContain('warm-up: 5.0 s before the window, about 50 requests; not measured');
    expect(text).toContain('calibration: 10.0 s at 1x first, about 100 requests');
  });

  it('says that recorded sessions replace what is missing, unless the load is a rate of its own', async () => {
    const halfOfFleet = minute(0, 2);
    const replaced = 'coverage 0.500: extra recorded sessions replace what is missing';
    expect((await dryRunPlan(halfOfFleet, {})).text).toContain(replaced);
    const atRate = await dryRunPlan(halfOfFleet, { rate: '5', duration: '20s' });
    expect(atRate.text).not.toContain('coverage');
  });

  it('says that a recording is too short to warm up, and that the run repeats what calibrates', async () => {
    const { text, document } = await dryRunPlan(minute(), {
      warmup: '5s',
      compareAt1x: '10s',
      window: [`${at(2)}..`],
    });
    expect(document).toMatchObject({
      warmup: { askedS: 5, playedS: 2, planned: 20 },
      calibration: { precedesWindow: false, plannedRequests: 100 },
    });
    expect(text).toContain(
      'warm-up: 2.0 s before the window (the recording starts no earlier; 5.0 s were asked for)',
    );
    expect(text).toContain('about 100 requests; the run repeats them');
  });

  it('of a shard has the digest of the plan: one for all shards, another for another capture of one size', async () => {
    const [capture, other] = [minute(), minute(7)];
    const shardOf = async (of: string, shard: string) => (await dryRunPlan(of, { shard })).document.shard;
    const first = await shardOf(capture, '0/7');
    expect(first).toMatchObject({ index: 0, count: 7 });
    expect(first?.planDigest).toMatch(/^[0-9a-f]{64}$/);
    expect(await shardOf(capture, '6/7')).toEqual({ ...first, index: 6 });
    expect((await shardOf(other, '6/7'))?.planDigest).not.toBe(first?.planDigest);
  });

  it('told nothing of the objectives that it understood, and left out the defaults', async () => {
    const slo = 'errors: rate<5%; latency: p(95)<0.6s';
    const { status, stdout, stderr } = await runCommand(['replay', minute(), '--dry-run', '--slo', slo]);
    expect(status, stderr).toBe(0);
    expect(stdout).toContain('  objective errors: rate<5%, a limit of 5 %\n');
    expect(stdout).toContain('  objective latency: p(95)<0.6s, a limit of 600.0 ms\n');
    expect(stdout).toContain('  objective rejected: rate<0.01, a limit of 1 % above what production refused');
    expect(stdout).not.toContain('objective errors: rate<0.01');
    const json = await runCommand(['replay', minute(), '--dry-run', '--slo', slo, '--json']);
    expect(JSON.parse(json.stdout).slo).toEqual([
      {
        expression: 'errors: rate<5%',
        unit: 'share',
        limit: 0.05,
        origin: 'stated',
      },
      {
        expression: 'latency: p(95)<0.6s',
        unit: 'ms',
        limit: 600,
        origin: 'stated',
      },
      { expression: 'rejected: rate<0.01', unit: 'share', limit: 0.01, origin: 'recording' },
    ]);
  });

  it('took the only connection of its target, or did not say that it tried none', async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.destroy();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { stdout } = await runCommand(['replay', minute(), '--dry-run', '--target', url]);
    server.close();
    expect(stdout).toContain(`Target not tried: ${url}`);
    expect(connections).toBe(0);
  });

  it('says what --max-rate will refuse', async () => {
    const { text, document } = await dryRunPlan(minute(), { maxRate: '7' });
    expect(document).toMatchObject({ planned: 600, maxRatePerSecond: 7, refused: 180 });
    expect(text).toContain('--max-rate 7 refuses 180 of 600 planned');
    const halved = await dryRunPlan(minute(), { maxRate: '7', multiplier: '2', maxRequests: '100' });
    expect(halved.document).toMatchObject({ planned: 100, refused: 65 });
    const enough = await dryRunPlan(minute(), { maxRate: '1000' });
    expect(enough.document).toMatchObject({ refused: 0 });
    expect(enough.text).toContain('--max-rate 1000 refuses nothing');
    expect(await dryRunPlan(minute(), {})).toMatchObject({
      document: { maxRatePerSecond: null, refused: 0 },
    });
  });

  it('refuses no shard for what falls to others: it plays copies alone, or nothing and says so', async () => {
    const session = Buffer.from('session1');
    const capture = captureOf(
      Array.from({ length: 5 }, (_, n) => exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 100_000, session })),
    );
    const shards = await Promise.all(
      [0, 1, 2, 3].map((index) =>
        dryRunPlan(capture, { scaling: 'amplify', multiplier: '2', shard: `${index}/4` }),
      ),
    );
    const counts = shards.map(({ document }) => document as { planned: number; selected: number });
    expect(counts.reduce((sum, { planned }) => sum + planned, 0)).toBe(10);
    expect(counts).toContainEqual(expect.objectContaining({ planned: 5, selected: 0 }));
    for (const [index, { text }] of shards.entries()) {
      expect(text.includes(`plays nothing: no session is assigned to shard ${index}/4`)).toBe(
        counts[index]?.planned === 0,
      );
    }
    await expect(dryRunPlan(capture, { filter: ['status=404'], shard: '0/4' })).rejects.toMatchObject({
      code: 'CAPTURE_EMPTY',
    });
  });

  it('shares names with the document of a run only for the same things', async () => {
    const { document } = await dryRunPlan(minute(), { warmup: '5s', window: [`${at(30)}..`] });
    const shared = Object.keys(document).filter((key) => key in replaySchema.shape);
    expect(shared).toEqual(
      expect.arrayContaining(['multiplier', 'planned', 'recorded', 'bounds', 'options']),
    );
    expect(document).toMatchObject({
      planned: 300,
      recorded: 300,
      fidelity: { recorded: { count: 300 }, planned: { count: 300 } },
      options: { multiplier: 1 },
    });
    expect(document).not.toHaveProperty('verdict');
  });

  it('says nothing of what was not asked for', async () => {
    const { text, document } = await dryRunPlan(minute(), {});
    expect(document).toMatchObject({ warmup: null, calibration: null });
    expect(text).not.toMatch(/warm-up|calibration|--max-rate/);
  });
});
