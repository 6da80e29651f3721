import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { canGroup, canMount, canTrace } from '../support/host-abilities.ts';
import { NumberedOrigin, NumberedTraffic } from '../support/numbered-traffic.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { type Scene, type SceneOptions, smallDisk, survives as survivesWith } from './fault-scene.ts';

const MEMORY_GROUPS = '/sys/fs/cgroup/memory';
const FAULT_MS = 3_000;
/** A recorder is killed after 5 s of silence. It is checked every second; a check that is 2 s late starts again. */
const SILENT_MS = { least: 5_000, below: 7_000 };
const BEAT_MS = 1_500;
const HANGS = /"silentMs":(\d+),"message":"recorder hangs; killing it"/;

/** Faults of the recorder process and its disk, on the data plane of these flags. */
export function testWriterFaults(flags: readonly string[]): void {
  describe('no request fails, and each is stored or counted', () => {
    const survives = (fault: (scene: Scene) => Promise<void>, options: SceneOptions = {}) =>
      survivesWith(fault, { ...options, flags: [...flags, ...(options.flags ?? [])] });

    test.skipIf(!canMount)('while the disk is full (no file system can be mounted here)', async () => {
      const disk = smallDisk(192);
      const end = await survives(
        async () => {
          const filler = join(disk, 'filler');
          spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M', 'count=400'], { stdio: 'ignore' });
          await sleep(FAULT_MS);
          rmSync(filler);
        },
        { capture: join(disk, 'capture') },
      );
      expect(end.stored).toBe(end.recorded);
      expect((end.lost['disk_full']?.turns ?? 0) + (end.lost['disk_reserve']?.turns ?? 0)).toBeGreaterThan(0);
    });

    test.skipIf(!canMount)(
      'when the disk is full from the start (no file system can be mounted here)',
      async () => {
        const disk = smallDisk(8);
        spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=1M', 'count=8'], {
          stdio: 'ignore',
        });
        const origin = await new NumberedOrigin().listen();
        const recording = await startRecording(origin.port, join(disk, 'capture'), flags);
        const traffic = new NumberedTraffic(recording.port);
        await sleep(1_000);
        await msUntil(20_000, 'requests are answered', () => traffic.succeeded.length > 20);
        await traffic.stop();
        const { status, log } = await recording.stop();
        await origin.close();
        expect(status).toBe(0);
        expect(traffic.failed).toEqual([]);
        expect(log.some(({ level }) => level === 'error')).toBe(true);
      },
    );

    test.skipIf(!canTrace).each([
      ['EIO', 'pwrite64,fdatasync,fsync,ftruncate', 'io_error'],
      // The error of a disk that fills up unnoticed: the reserve is checked before a batch, not during it.
      ['ENOSPC', 'pwrite64', 'disk_full'],
    ])(
      'while every write of the recorder fails with %s (no strace, or it may not attach)',
      async (error, calls, reason) => {
        const end = await survives(async ({ recording }) => {
          const { recorder } = recording.children();
          const flags = ['-f', '-qq', '-o', '/dev/null', '-p', String(recorder)];
          const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=${error}`];
          const tracer = spawn('strace', [...flags, ...inject], { stdio: 'ignore' });
          await sleep(FAULT_MS);
          tracer.kill('SIGINT');
          await once(tracer, 'exit');
        });
        expect(end.stored).toBeGreaterThanOrEqual(end.recorded);
        expect(end.recorded).toBeLessThan(end.succeeded);
        expect(end.lost[reason]?.turns ?? 0).toBeGreaterThan(0);
      },
    );

    test('while the recorder stands still for three seconds', async () => {
      const end = await survives(async ({ recording }) => {
        const { recorder } = recording.children();
        process.kill(recorder, 'SIGSTOP');
        await sleep(FAULT_MS);
        process.kill(recorder, 'SIGCONT');
        expect(recording.children().recorder).toBe(recorder);
      });
      // The queue has room for three seconds of this traffic.
      expect(end.lost).toEqual({});
      expect(end.stored).toBe(end.succeeded);
    });

    test('while the recorder hangs for good', async () => {
      let silentMs = Number.NaN;
      const end = await survives(async ({ recording }) => {
        const { recorder } = recording.children();
        const stoppedMs = performance.now();
        process.kill(recorder, 'SIGSTOP');
        // The silence is read from the log, because our own measurement depends on the machine. The rest is as after
        // any kill: recording continues in time.
        await msUntil(30_000, 'it is killed', () => HANGS.test(recording.process.stderr));
        // The last heartbeat may have come just before the stop.
        expect(performance.now() - stoppedMs).toBeGreaterThan(SILENT_MS.least - BEAT_MS);
        silentMs = Number(HANGS.exec(recording.process.stderr)?.[1]);
      });
      expect(silentMs).toBeGreaterThanOrEqual(SILENT_MS.least);
      expect(silentMs).toBeLessThan(SILENT_MS.below);
      expect(end.stored).toBeGreaterThanOrEqual(end.recorded);
      expect(end.recorded).toBeLessThan(end.succeeded);
    });

    test.skipIf(!canGroup)(
      'when the kernel takes the recorder for want of memory (no control groups of version 1 can be made here)',
      async () => {
        const group = join(MEMORY_GROUPS, `reprise-test-${process.pid}`);
        mkdirSync(group);
        try {
          await survives(
            async ({ recording }) => {
              const { recorder } = recording.children();
              writeFileSync(join(group, 'memory.limit_in_bytes'), String(2 * 1024 * 1024));
              writeFileSync(join(group, 'cgroup.procs'), String(recorder));
              // Memory that it has already is not charged to the group. Further memory soon exceeds the limit.
              await msUntil(20_000, 'it is taken', () => recording.children().recorder !== recorder);
            },
            { bodyBytes: 60_000 },
          );
        } finally {
          spawnSync('rmdir', [group]);
        }
      },
    );

    test('while another process holds the lock of the segment', async () => {
      const end = await survives(async ({ directory }) => {
        const file = readdirSync(directory).find((name) => name.endsWith('.sqlite')) as string;
        const database = new Database(join(directory, file));
        database.exec('BEGIN IMMEDIATE');
        await sleep(FAULT_MS);
        database.exec('ROLLBACK');
        database.close();
      });
      expect(end.stored).toBe(end.recorded);
    });

    test('when the directory is deleted', async () => {
      const end = await survives(async ({ directory }) => {
        // Retries, because the recorder creates files meanwhile.
        rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 10 });
        await sleep(1_000);
      });
      expect(end.succeeded).toBeGreaterThan(0);
    });

    test('when the quota is used up', async () => {
      const end = await survives(async () => await sleep(6_000), {
        flags: ['--max-disk', '16MiB'],
        bodyBytes: 40_000,
      });
      expect(end.succeeded).toBeGreaterThan(0);
    });
  });

  describe('a sink that cannot be had at the start', () => {
    test.each([
      ['a directory that is a file', (place: string) => join(place, 'file')],
      ['a path below a file', (place: string) => join(place, 'file', 'capture')],
    ])('leaves the traffic alone: %s', async (_, capture) => {
      const place = temporaryDirectory();
      writeFileSync(join(place, 'file'), '');
      const origin = await new NumberedOrigin().listen();
      const recording = await startRecording(origin.port, capture(place), flags);
      const traffic = new NumberedTraffic(recording.port);
      await sleep(500);
      await msUntil(20_000, 'requests are answered', () => traffic.succeeded.length > 10);
      await traffic.stop();
      const { status, log, end } = await recording.stop();
      await origin.close();
      expect(status).toBe(0);
      expect(traffic.failed).toEqual([]);
      expect(log.filter(({ message }) => message.startsWith('NOT RECORDING'))).toHaveLength(1);
      expect(end).toMatchObject({ exchanges: 0, lost: { writer_down: { turns: traffic.succeeded.length } } });
    });
  });
}
