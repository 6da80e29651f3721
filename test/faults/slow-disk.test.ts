import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { msUntil, scrape, totalOf } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { canSlowSyncs, slowSyncs } from './slow-sync.ts';

const PER_SECOND = 200;
const TRAFFIC_MS = repeated(8_000, 60_000);
/** A new segment takes some ten syncs, of up to 6 s here. */
const SETTLED_MS = repeated(60_000, 240_000);

describe.skipIf(!canSlowSyncs)('a disk whose syncs are slow (no C compiler here)', () => {
  test.each(repeated([800], [300, 800, 2_000, 4_000, 6_000]))(
    'of %i ms costs no exchange and no recorder',
    async (ms) => {
      const origin = await new NumberedOrigin().listen();
      const directory = `${temporaryDirectory()}/capture`;
      const flags = ['--probe-listen', '127.0.0.1:0'];
      const recording = await startRecording(origin.port, directory, flags, { env: slowSyncs(ms) });
      const [, probe] = await recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
      const { recorder } = recording.children();
      const traffic = new PacedTraffic(recording.port, PER_SECOND);
      await sleep(TRAFFIC_MS);
      await traffic.stop();
      await msUntil(SETTLED_MS, 'the queue is recorded', async () => {
        await sleep(500);
        return totalOf(await scrape(Number(probe)), 'reprise_recorded_turns_total') >= traffic.succeeded;
      });
      expect(recording.children().recorder).toBe(recorder);
      const { end, log } = await recording.stop();
      await origin.close();
      expect(log.filter(({ message }) => /hangs|recorder ended/.test(message))).toEqual([]);
      expect(traffic.failed).toEqual([]);
      expect(traffic.succeeded).toBeGreaterThan((TRAFFIC_MS / 1000) * PER_SECOND * 0.9);
      expect(end).toMatchObject({ exchanges: traffic.succeeded, lost: {} });
      const { stdout } = await runReprise(['inspect', directory, '--json']);
      const { exchanges, losses, segments } = JSON.parse(stdout);
      expect({ exchanges, losses: losses.exchanges }).toEqual({ exchanges: traffic.succeeded, losses: 0 });
      // An hour may have ended meanwhile.
      expect(segments.length).toBeLessThanOrEqual(2);
    },
  );

  test('loses to a kill only what was not committed, and the next recorder continues the segment', async () => {
    const origin = await new NumberedOrigin().listen();
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory, [], { env: slowSyncs(100) });
    const traffic = new PacedTraffic(recording.port, PER_SECOND);
    for (let kill = 1; kill <= 3; kill += 1) {
      await sleep(3_000);
      const { recorder } = recording.children();
      process.kill(recorder, 'SIGKILL');
      await msUntil(30_000, 'the next one records', () => recording.children().recorder !== recorder);
    }
    await sleep(2_000);
    await traffic.stop();
    const { end } = await recording.stop();
    await origin.close();
    expect(traffic.failed).toEqual([]);
    const lost = Object.values(end['lost'] as Record<string, { readonly turns: number }>);
    const lostTurns = lost.reduce((sum, { turns }) => sum + turns, 0);
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    const { exchanges, segments } = JSON.parse(stdout);
    expect(exchanges).toBe(end['exchanges']);
    expect(exchanges + lostTurns).toBe(traffic.succeeded);
    expect(lostTurns).toBeGreaterThan(0);
    expect(segments.length).toBeLessThanOrEqual(2);
  });
});
