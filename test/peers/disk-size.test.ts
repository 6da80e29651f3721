import { describe, expect, test } from 'vitest';
import {
  arenaRequests,
  bytesOf,
  gzippedLogBytes,
  kserveRequests,
  payloadBytesOf,
  recordAndSeal,
  type SampleRequest,
  trafficOf,
  wireBytesOf,
} from '../support/disk-traffic.ts';
import { missing } from '../support/shared-data.ts';

/** Of the same traffic as one text log under `gzip -6`. */
const OF_GZIPPED_LOG = 1.1;
const OF_RAW = 0.45;

const arena = arenaRequests();
const both = [...kserveRequests(), ...arena];
const absent = arena.length === 0 || both.length === arena.length;

interface Figures {
  readonly sealed: number;
  readonly ofGzippedLog: number;
  readonly ofRaw: number;
}

function measure(
  requests: readonly SampleRequest[],
  ratePerSecond: number,
  seconds: number | 'each once',
): Figures {
  const order = seconds === 'each once' ? 'in turn' : 'drawn';
  const count = seconds === 'each once' ? requests.length : ratePerSecond * seconds;
  const traffic = () => trafficOf(requests, { count, ratePerSecond, order });
  const sealed = bytesOf(recordAndSeal(traffic()));
  const figures = {
    sealed,
    ofGzippedLog: sealed / gzippedLogBytes(traffic()),
    ofRaw: sealed / wireBytesOf(traffic()),
  };
  process.stdout.write(
    `${count} exchanges at ${ratePerSecond}/s ${order}: ${sealed} bytes sealed, ` +
      `${figures.ofGzippedLog.toFixed(3)} of gzip -6, ${figures.ofRaw.toFixed(3)} of raw\n`,
  );
  return figures;
}

describe.skipIf(absent)(
  absent ? missing('kserve-payloads and data/arena-hard-prompts') : 'a sealed capture',
  () => {
    test.each([
      [2, 3_600],
      [2_000, 10],
    ])('of model requests and prompts at %s/s is no larger than a gzipped log of them', (rate, seconds) => {
      expect(measure(both, rate, seconds).ofGzippedLog).toBeLessThanOrEqual(OF_GZIPPED_LOG);
    });

    test.each([2, 2_000])('of each of them once at %s/s is not either', (rate) => {
      expect(measure(both, rate, 'each once').ofGzippedLog).toBeLessThanOrEqual(OF_GZIPPED_LOG);
    });

    test.each([
      [2, 3_600],
      [2_000, 10],
    ])('of prompts alone at %s/s is less than half of what passed', (rate, seconds) => {
      expect(measure(arena, rate, seconds).ofRaw).toBeLessThanOrEqual(OF_RAW);
    });

    test.each([2, 2_000])(
      'keeps heads and bodies of each prompt once at %s/s in 0.45 of their size',
      (rate) => {
        const traffic = () =>
          trafficOf(arena, { count: arena.length, ratePerSecond: rate, order: 'in turn' });
        const bodies = arena.reduce((sum, { body }) => sum + body.byteLength, 0);
        expect(payloadBytesOf(recordAndSeal(traffic())) / bodies).toBeLessThanOrEqual(OF_RAW);
      },
    );
  },
);
