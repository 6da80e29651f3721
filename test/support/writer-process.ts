/**
 * A process that writes a capture until it is stopped or killed: `node writer-process.ts DIR RECORDER COUNT
 * [BODY_BYTES [PAUSE_MS]]`. It appends COUNT exchanges (0: endlessly), commits every few, and pauses after each commit.
 * It prints `committed N` after a commit with N acknowledged exchanges in total, and `lost N REASON` for a lost batch.
 * An exchange's connection is its number, from 1.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import { CaptureWriter } from '../../src/storage/capture/writer.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, testHash } from './exchanges.ts';

const [directory = '', recorder = '', count = '0', bodyBytes = '100', pauseMs = '0'] = process.argv.slice(2);

const writer = new CaptureWriter(
  {
    directory: resolveCaptureDirectory(directory, 'write'),
    recorder: { id: recorder, host: 'test', startedUs: systemClock.epochUs() },
    origin: { kind: 'recorded', target: 'model.internal:8000' },
    policy: {},
    hashKeyFingerprint: testHash.fingerprint(),
    encryption: null,
    fleetSize: null,
    account: null,
    maxDiskBytes: 1024 * 1024 * 1024,
    retainMs: null,
    segmentBy: 'clock',
    durability: 'commit',
    onFinished: (file) => say(`finished ${file}`),
  },
  systemClock,
);

/** Prints a line synchronously, so that a printed line is complete even after a kill. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

let acknowledged = 0;
for (let number = 1; count === '0' || number <= Number(count); number += 1) {
  const body = `${number} `.repeat(Math.ceil(Number(bodyBytes) / `${number} `.length));
  writer.append(
    exchangeOf({ arrivalUs: TEST_EPOCH_US + number, connection: number, request: requestMessage({ body }) }),
  );
  if (number % 7 === 0) {
    const { committed, lost, reason } = writer.commit();
    acknowledged += committed;
    say(lost.length > 0 ? `lost ${lost.length} ${reason}` : `committed ${acknowledged}`);
    if (pauseMs !== '0') await sleep(Number(pauseMs));
  }
}
const last = writer.close();
say(`closed ${acknowledged + last.committed} ${last.lost.length} ${last.error}`);
