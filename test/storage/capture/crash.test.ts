import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { segmentsOf, unsealedSegments } from '../../../src/storage/capture/directory.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { readManifest, settleSegment } from '../../../src/storage/capture/sealing.ts';
import { TEST_EPOCH_US } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import { RunningProcess, runProcess } from '../../support/process.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const WRITER = join(repositoryRoot, 'test', 'support', 'writer-process.ts');

function startWriter(directory: string, recorder: string, count: number, bodyBytes = 100): RunningProcess {
  const args = [WRITER, directory, recorder, String(count), String(bodyBytes)];
  return new RunningProcess(process.execPath, args);
}

function lastAcknowledged(output: string): number {
  const lines = [...output.matchAll(/^committed (\d+)\n/gm)];
  return Number(lines.at(-1)?.[1] ?? 0);
}

/** Numbers of the exchanges of one recorder, after checking that each still has the body it was given. */
function numbersOf(directory: string, recorder: string): number[] {
  const reader = new CaptureReader(directory);
  try {
    return [...reader.rows()]
      .filter((row) => row.recorder === recorder)
      .map((row) => {
        const body = String(reader.payload(row)?.request?.body.kept);
        expect(body.startsWith(`${row.connection} ${row.connection} `)).toBe(true);
        return row.connection ?? -1;
      });
  } finally {
    reader.close();
  }
}

describe('a writer killed with SIGKILL', () => {
  it('loses nothing it acknowledged, time and again, before recovery and after', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const rounds = repeated([3, 27, 54], [3, 9, 27, 54, 108]);
    for (const [round, atLeast] of rounds.entries()) {
      const recorder = `kill${round}`;
      const writer = startWriter(directory, recorder, 0);
      await writer.waitFor('stdout', new RegExp(`^committed ${7 * atLeast}$`, 'm'));
      const { signal, stdout } = await writer.kill('SIGKILL');
      expect(signal).toBe('SIGKILL');
      const acknowledged = lastAcknowledged(stdout);
      expect(acknowledged).toBeGreaterThanOrEqual(7 * atLeast);
      // As it was left, the way a reader finds it before anybody recovers it.
      const found = numbersOf(directory, recorder);
      expect(found.length).toBeGreaterThanOrEqual(acknowledged);
      expect(found).toEqual(found.map((_, index) => index + 1));
      const [settled] = unsealedSegments(directory).map((path) => settleSegment(path, systemClock));
      expect(settled).toMatchObject({ outcome: 'recovered', problem: null });
      const manifest = readManifest(join(directory, settled?.file ?? ''));
      expect(manifest).toMatchObject({ exchanges: found.length, recovered: true });
      expect(numbersOf(directory, recorder)).toEqual(found);
    }
    expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    // That something may be missing is said, even where it is not known what.
    const reader = inspectCapture(directory);
    expect(reader.segments).toHaveLength(rounds.length);
  });
});

describe('a recorder that is started again', () => {
  it('continues its segment instead of making a new one every time', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    let acknowledged = 0;
    // Bodies in shared blocks, and bodies with rows of their own.
    for (const bodyBytes of repeated([100, 300_000], [100, 300_000, 100, 300_000])) {
      const writer = startWriter(directory, 'again', 0, bodyBytes);
      await writer.waitFor('stdout', /^committed 70$/m);
      const { stdout } = await writer.kill('SIGKILL');
      acknowledged += lastAcknowledged(stdout);
    }
    const last = await startWriter(directory, 'again', 21).finished;
    acknowledged += lastAcknowledged(last.stdout);
    expect(last.stdout).toContain('closed 21 0 null');
    const found = numbersOf(directory, 'again');
    expect(found.length).toBeGreaterThanOrEqual(acknowledged);
    // An hour may have ended meanwhile.
    expect(segmentsOf(directory).length).toBeLessThanOrEqual(2);
    const settled = unsealedSegments(directory).map((path) => settleSegment(path, systemClock));
    expect(settled.map(({ outcome }) => outcome)).not.toContain('damaged');
    expect(numbersOf(directory, 'again')).toEqual(found);
    expect(inspectCapture(directory).exchanges).toBe(found.length);
  });
});

describe('an open segment', () => {
  it('is read while another process appends to it and then seals it', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const total = 4_200;
    const writer = startWriter(directory, 'live', total);
    await writer.waitFor('stdout', /^committed 70$/m);
    const reader = new CaptureReader(directory);
    // Held from the first page on, over commits, rewritten tails, the end of the segment and its sealing.
    const rows = reader.rows();
    const early = Array.from({ length: 50 }, () => rows.next().value);
    expect(early.map((row) => row?.connection)).toEqual(early.map((_, index) => index + 1));
    const { stdout, status } = await writer.finished;
    expect(status).toBe(0);
    expect(stdout).toContain(`closed ${total} 0 null`);
    expect(unsealedSegments(directory).map((path) => settleSegment(path, systemClock).outcome)).toEqual([
      'sealed',
    ]);
    const rest = [...rows].map((row) => row.connection);
    expect(rest).toEqual(Array.from({ length: total - 50 }, (_, index) => 51 + index));
    for (const row of early) {
      expect(String(row && reader.payload(row)?.request?.body.kept)).toMatch(
        new RegExp(`^${row?.connection} `),
      );
    }
    reader.close();
    expect(numbersOf(directory, 'live')).toHaveLength(total);
  });

  it('shows what is committed by then and no more', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const writer = startWriter(directory, 'live', 0);
    await writer.waitFor('stdout', /^committed 700$/m);
    const seen: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const before = lastAcknowledged(writer.stdout);
      const numbers = numbersOf(directory, 'live');
      expect(numbers.length).toBeGreaterThanOrEqual(before);
      expect(numbers).toEqual(numbers.map((_, index) => index + 1));
      seen.push(numbers.length);
      await writer.waitFor(
        'stdout',
        new RegExp(`^committed ${Math.ceil((numbers.length + 1) / 7) * 7}$`, 'm'),
      );
    }
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(new Set(seen).size).toBe(4);
    await writer.kill('SIGKILL');
  });
});

describe('a disk', () => {
  it('that fills up keeps its reserve, and costs counted batches and nothing else', async (context) => {
    const mount = temporaryDirectory();
    // A file system of 3 MiB in a mount namespace of its own, gone with the process.
    const script = `mount -t tmpfs -o size=3m,mode=0700 tmpfs "$1" && "$2" "$3" "$1/capture" full 700 4000; ls -A "$1/capture"; cp -r "$1/capture" "$4"`;
    const copy = join(temporaryDirectory(), 'copy');
    const result = await runProcess('unshare', [
      '-m',
      'sh',
      '-ec',
      script,
      'sh',
      mount,
      process.execPath,
      WRITER,
      copy,
    ]);
    if (/unshare|mount:|permission/i.test(result.stderr) && result.stdout === '') {
      context.skip(`no mount namespace may be made here: ${result.stderr.trim()}`);
    }
    expect(result.status).toBe(0);
    const acknowledged = lastAcknowledged(result.stdout);
    const lost = [...result.stdout.matchAll(/^lost (\d+) (\w+)\n/gm)];
    expect(acknowledged).toBeGreaterThan(0);
    expect(lost.length).toBeGreaterThan(0);
    expect(new Set(lost.map((match) => match[2]))).toEqual(new Set(['disk_reserve']));
    expect(acknowledged + lost.reduce((sum, match) => sum + Number(match[1]), 0)).toBe(700);
    for (const path of unsealedSegments(copy)) settleSegment(path, systemClock);
    expect(numbersOf(copy, 'full')).toHaveLength(acknowledged);
    expect(inspectCapture(copy).firstArrival).toBe(
      new Date(TEST_EPOCH_US / 1000).toISOString().replace('000Z', '000001Z'),
    );
  });

  it('that refuses to grow a file makes the writer give the segment up and count what it could not keep', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    // Files of at most 600 KiB: the write fails with an I/O error, as on a bad disk.
    const script = 'trap "" XFSZ; ulimit -f 1200; exec "$1" "$2" "$3" limit 1400 4000';
    const result = await runProcess('bash', ['-c', script, 'bash', process.execPath, WRITER, directory]);
    expect(result.status).toBe(0);
    const lost = [...result.stdout.matchAll(/^lost (\d+) (\w+)\n/gm)];
    expect(lost.length).toBeGreaterThan(0);
    expect(new Set(lost.map((match) => match[2]))).toEqual(new Set(['io_error']));
    // Given up within the commit that failed, not when the writer was closed.
    expect(result.stdout).toMatch(/^finished .*-0001\.sqlite\nlost /m);
    for (const path of unsealedSegments(directory)) settleSegment(path, systemClock);
    expect(numbersOf(directory, 'limit')).toHaveLength(lastAcknowledged(result.stdout));
  });
});
