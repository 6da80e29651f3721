import { join } from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import type { Body, Exchange } from '../../src/core/exchange.ts';
import { buildRequestHead } from '../../src/core/headers.ts';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import { sealSegment } from '../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../src/storage/capture/writer.ts';
import { azureArrivalsUs } from '../../test/support/azure-trace.ts';

/** 2026-11-24T12:00:00Z: a past hour, so that all segments have ended. */
export const FIRST_ARRIVAL_US = 1_795_521_600_000_000;
const hash = new KeyedHash(Buffer.alloc(32, 1));

/** When to send each request, in whole microseconds after the first. */
export type ArrivalPlan = readonly number[];

export function evenPlan(ratePerSecond: number, seconds: number): ArrivalPlan {
  return Array.from({ length: Math.round(ratePerSecond * seconds) }, (_, index) =>
    Math.round((index * 1e6) / ratePerSecond),
  );
}

/** A Poisson process that is the same on every machine. */
export function poissonPlan(ratePerSecond: number, seconds: number): ArrivalPlan {
  const random = new SeededRandom(1);
  const offsets: number[] = [];
  for (let atUs = 0; atUs < seconds * 1e6; ) {
    offsets.push(Math.round(atUs));
    atUs -= (Math.log((random.nextUint32() + 1) / 2 ** 32) * 1e6) / ratePerSecond;
  }
  return offsets;
}

/** The first arrivals of the Azure 2023 conversation trace, at another mean rate. */
export function tracePlan(ratePerSecond: number, seconds: number): ArrivalPlan {
  const arrivalsUs = azureArrivalsUs().slice(0, Math.round(ratePerSecond * seconds) + 1);
  const [firstUs = 0, lastUs = 0] = [arrivalsUs[0], arrivalsUs.at(-1)];
  const pace = (seconds * 1e6) / (lastUs - firstUs);
  return arrivalsUs.slice(0, -1).map((atUs) => Math.round((atUs - firstUs) * pace));
}

/**
 * A capture of the plan: one request for each offset, all with the same body.
 * @param pathOf the path of a request by its index
 * @returns its directory
 */
export function captureOf(
  plan: ArrivalPlan,
  body: Buffer,
  parent: string,
  name: string,
  pathOf = (index: number) => `/${index}`,
): string {
  const whole = wholeOf(body);
  const exchanges = plan.map((offsetUs, index) => exchangeOf(pathOf(index), offsetUs, whole));
  return writtenCapture(exchanges, parent, name);
}

/** A body that is stored completely. */
export function wholeOf(body: Buffer): Body {
  return { bytes: body.length, kept: body, truncated: false, hash: hash.ofBody(body) };
}

/**
 * A capture of these exchanges.
 * @returns its directory
 */
export function writtenCapture(exchanges: Iterable<Exchange>, parent: string, name: string): string {
  const directory = resolveCaptureDirectory(join(parent, name), 'write');
  const writer = new CaptureWriter(
    {
      directory,
      recorder: { id: '0b5e0b5e', host: 'bench', startedUs: FIRST_ARRIVAL_US },
      origin: { kind: 'recorded', target: 'models.internal:8000' },
      policy: { bodies: 'all' },
      hashKeyFingerprint: hash.fingerprint(),
      encryption: null,
      account: null,
      fleetSize: 1,
      maxDiskBytes: 2 ** 32,
      retainMs: null,
      segmentBy: 'arrival',
      durability: 'seal',
      onFinished: (file) => void sealSegment(file, systemClock),
    },
    systemClock,
  );
  for (const exchange of exchanges) {
    writer.append(exchange);
    if (writer.due(systemClock.nowNs()) && writer.commit().lost.length > 0)
      throw new Error('the capture lost some');
  }
  const { lost, error } = writer.close();
  if (lost.length > 0 || error !== null) throw new Error(`the capture was not written: ${error}`);
  return directory;
}

function exchangeOf(path: string, offsetUs: number, body: Body): Exchange {
  const head = buildRequestHead('POST', path, [
    ['Host', 'models.internal:8000'],
    ['User-Agent', 'python-requests/2.32.3'],
    ['Accept', '*/*'],
    ['Content-Type', 'application/json'],
    ['Content-Length', String(body.bytes)],
  ]);
  return {
    arrivalUs: FIRST_ARRIVAL_US + offsetUs,
    outcome: 'completed',
    protocol: 'http/1.1',
    method: 'POST',
    route: 'POST /{id}',
    status: 200,
    connection: 1,
    client: null,
    session: null,
    model: null,
    streamed: false,
    requestEndOffsetUs: 10,
    firstByteOffsetUs: 100,
    lastByteOffsetUs: 110,
    clientLeftOffsetUs: null,
    firstTokenOffsetUs: null,
    promptTokens: null,
    outputTokens: null,
    batch: null,
    answerError: null,
    traceId: null,
    request: { head, redacted: [], body, trailers: null },
    response: null,
    requestChunks: [],
    responseChunks: [],
  };
}
