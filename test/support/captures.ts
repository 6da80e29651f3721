import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { resolveCaptureDirectory, segmentsOf } from '../../src/storage/capture/directory.ts';
import { sealSegment } from '../../src/storage/capture/sealing.ts';
import { openForReading } from '../../src/storage/capture/sqlite.ts';
import { CaptureWriter, type CaptureWriterOptions } from '../../src/storage/capture/writer.ts';
import { exchangeOf, TEST_EPOCH_US, testHash } from './exchanges.ts';
import { temporaryDirectory } from './temp-dir.ts';

/** A fresh capture directory. */
export function newCapture(): string {
  return resolveCaptureDirectory(join(temporaryDirectory(), 'capture'), 'write');
}

/** Options of a writer of `directory` that seals each finished segment at once. */
export function writerOptions(
  directory: string,
  parts: Partial<CaptureWriterOptions> = {},
): CaptureWriterOptions {
  return {
    directory,
    recorder: { id: '7f3a9c21', host: 'test', startedUs: TEST_EPOCH_US },
    origin: { kind: 'recorded', target: 'model.internal:8000' },
    policy: { bodies: 'all' },
    hashKeyFingerprint: testHash.fingerprint(),
    encryption: null,
    fleetSize: null,
    account: null,
    maxDiskBytes: 1024 * 1024 * 1024,
    retainMs: null,
    segmentBy: 'arrival',
    durability: 'seal',
    onFinished: (file) => {
      sealSegment(file, systemClock);
    },
    ...parts,
  };
}

/** Writes exchanges into a new capture and seals it. @returns its directory */
export function captureOf(
  exchanges: readonly Exchange[],
  parts: Partial<CaptureWriterOptions> = {},
  clock: Clock = systemClock,
): string {
  const directory = parts.directory ?? newCapture();
  const writer = new CaptureWriter(writerOptions(directory, parts), clock);
  for (const exchange of exchanges) {
    writer.append(exchange);
    if (writer.due(clock.nowNs()) && writer.commit().lost.length > 0)
      throw new Error('a test capture lost exchanges');
  }
  const { lost, error } = writer.close();
  if (lost.length > 0 || error !== null) throw new Error(`a test capture was not written: ${error}`);
  return directory;
}

/** The result of a query on a segment of a capture, by default the first. */
export function querySegment<Row>(directory: string, sql: string, index = 0): Row[] {
  const connection = openForReading(segmentsOf(directory)[index]?.path ?? '');
  try {
    return connection.prepare<[], Row>(sql).all();
  } finally {
    connection.close();
  }
}

/** A finished but unsealed segment, alone in its capture. @returns its path */
export function finishedSegment(exchanges = 3): string {
  const directory = captureOf(
    Array.from({ length: exchanges }, (_, index) => exchangeOf({ arrivalUs: TEST_EPOCH_US + index })),
    { onFinished: () => {} },
  );
  return segmentsOf(directory)[0]?.path ?? '';
}

/** Overwrites a part of a file with wrong bytes. */
export function overwrite(path: string, position: number, length: number): void {
  const descriptor = openSync(path, 'r+');
  try {
    writeSync(descriptor, Buffer.alloc(length, 0x5a), 0, length, position);
  } finally {
    closeSync(descriptor);
  }
}
