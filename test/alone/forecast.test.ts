import { join } from 'node:path';
import { expect, it } from 'vitest';
import { OpenLoopClient } from '../../fixtures/open-loop-client/open-loop-client.ts';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { repeated } from '../support/long-form.ts';
import { runReprise, startProcess } from '../support/process.ts';
import { poissonArrivals, uniform } from '../support/queue-simulator.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const RATE = 60;
const RECORDED_S = repeated(30, 120);
const SLO = ['--slo', 'latency: p(90)<150', '--step', '3s'];
/** A search ends as soon as its case is decided, in a quarter of this on a quiet machine. */
const BUDGET = repeated('3m', '4m');
const MOST_ERROR = 0.25;

interface Server {
  readonly service: string;
  readonly flags: readonly string[];
  /** Bytes of a request's text, by a number between 0 and 1. */
  readonly bytesOf: (share: number) => number;
}

const SERVERS: readonly Server[] = [
  { service: 'fixed', flags: ['--base-ms', '40', '--per-kib-us', '0'], bytesOf: () => 100 },
  {
    service: 'by input size',
    flags: ['--base-ms', '15', '--per-kib-us', '3000'],
    bytesOf: (share) => Math.round(200 * 100 ** share),
  },
];

async function serverOf(flags: readonly string[]): Promise<string> {
  const server = startProcess(process.execPath, [
    'fixtures/model-server/main.ts',
    ...['--listen', '127.0.0.1:0', '--executors', '4', ...flags],
  ]);
  const [, url = ''] = await server.waitFor('stdout', /"listening":"([^"]+)"/);
  return url;
}

/** Records independent users of a server: the recorder is in their path, as in production. */
async function recorded(url: string, bytesOf: Server['bytesOf']): Promise<string> {
  const capture = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(Number(new URL(url).port), capture);
  const random = uniform(20);
  const plan = Array.from(poissonArrivals(RATE * RECORDED_S, RATE, random), (second) => ({
    atMs: second * 1e3,
    method: 'POST',
    path: '/predictions/ranker',
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ text: 'x'.repeat(bytesOf(random())) })),
  }));
  const { completed } = await new OpenLoopClient({ origin: `http://127.0.0.1:${recording.port}` }).run(plan);
  expect(completed).toBe(plan.length);
  expect((await recording.stop()).end).toMatchObject({ lost: {}, recorded: { turns: plan.length } });
  return capture;
}

async function breakingPointOf(args: readonly string[]): Promise<CapacityDocument> {
  const { stdout, stderr } = await runReprise(['capacity', ...args, ...SLO, '--json']);
  process.stderr.write(`${stderr.replace(/^/gm, '  ')}\n`);
  return capacitySchema.parse(JSON.parse(stdout));
}

const multiplierOf = ({ breakingPoint }: CapacityDocument) => breakingPoint.boundary?.multiplier ?? 0;

/** What the recording of a server foretells, and what a search of that server then finds. */
async function foretold({ service, flags, bytesOf }: Server) {
  const url = await serverOf(flags);
  const capture = await recorded(url, bytesOf);
  const guessed = await breakingPointOf([capture, '--simulate']);
  const found = await breakingPointOf([
    ...[capture, '--target', url, '--production-host', 'allow=127.0.0.1'],
    ...['--budget', BUDGET, '--cool-down', '0s', '--out', join(temporaryDirectory(), 'out')],
  ]);
  const [guess, truth] = [multiplierOf(guessed), multiplierOf(found)];
  process.stderr.write(`  service ${service}: forecast ${guess.toFixed(2)}x, found ${truth.toFixed(2)}x\n`);
  return { service, guessed, found };
}

/** Recording, search and start of both servers, which run side by side. */
const TIMEOUT_MS = repeated(300_000, 900_000);

it(
  'a forecast lies within a quarter of the breaking point that a search finds at the recorded server',
  async () => {
    for (const { service, guessed, found } of await Promise.all(SERVERS.map(foretold))) {
      expect([guessed.limitedBy, found.limitedBy], service).toEqual(['objective', 'objective']);
      expect(Math.abs(multiplierOf(guessed) / multiplierOf(found) - 1), service).toBeLessThan(MOST_ERROR);
      // The queue was fitted to one half of the recording. It has to hold for the other as well.
      for (const { percent, error } of guessed.forecast?.checked.percentiles ?? [])
        expect(Math.abs(error), `${service}, p${percent}`).toBeLessThan(MOST_ERROR);
    }
  },
  TIMEOUT_MS,
);
