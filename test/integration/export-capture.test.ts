import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { runCommand } from '../support/command-here.ts';
import { live } from '../support/lives.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let origin: NumberedOrigin;

beforeEach(async () => {
  origin = await new NumberedOrigin().listen();
});
afterEach(async () => {
  await origin.close();
});

async function inspect(directory: string): Promise<InspectDocument> {
  return JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout) as InspectDocument;
}

describe('reprise export capture', () => {
  it('copies a capture while it is recorded, with what is in the write-ahead log, and another beside it', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const out = join(temporaryDirectory(), 'all');
    const recording = await startRecording(origin.port, directory);
    const traffic = new PacedTraffic(recording.port, 100);
    await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 50);
    await traffic.stop();
    const least = storedIds(directory).length;
    const other = live({ id: 'aa', hours: 2, account: {} });
    const { status, stdout } = await runCommand([
      'export',
      'capture',
      directory,
      other,
      '--out',
      out,
      '--json',
    ]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ format: 'capture', segments: 3, open: 1, duplicates: 0 });
    expect(readdirSync(out).filter((file) => /-wal|-shm|hash\.key/.test(file))).toEqual([]);
    const copy = await inspect(out);
    expect(copy.exchanges).toBeGreaterThanOrEqual(least + 20);
    expect(copy).toMatchObject({
      coverage: 1,
      killed: [],
      withoutLog: [],
      missing: { exchanges: 0 },
      recorders: { length: 2 },
    });
    expect((await runCommand(['verify', out])).status).toBe(0);
    await recording.stop();
  });

  it('refuses a window, several captures for another format, and a place that is taken', async () => {
    const capture = live({ id: 'aa', hours: 1 });
    const out = join(temporaryDirectory(), 'copy');
    const codes = [
      ['export', 'capture', capture, '--out', out, '--peak', '1m'],
      ['export', 'csv', capture, capture, '--out', out],
      ['export', 'capture', capture, '--out', capture],
    ];
    for (const args of codes) expect((await runCommand(args)).status).not.toBe(0);
    expect(existsSync(out)).toBe(false);
  });
});
