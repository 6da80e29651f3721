import { join } from 'node:path';
import { expect, it } from 'vitest';
import { capacitySchema } from '../../src/documents/capacity.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { runReprise, startProcess } from '../support/process.ts';
import { uniform } from '../support/queue-simulator.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PATH = '/predictions/ranker';
const RECORDED_S = repeated(4, 6);
/** Of each search. */
const BUDGET = repeated('57s', '4m');
/** How often the recording is repeated to find out what holds: a queue needs time to grow. */
const PASSES = repeated(3, 6);
/** What fails is replayed again: another program may have had the processors of the servers. */
const PLAYS = 2;
const SEARCHED_REPLICAS = 2;
const TIMES_PEAK = [1, 1.5, 2];

interface Fleet {
  readonly balancer: 'round robin' | 'least connections';
  /** Of one replica. Its service lasts a base and a time for each KiB of the request. */
  readonly executors: number;
  readonly baseMs: number;
  readonly perKibMs: number;
  readonly mostKib: number;
  /** Requests per second of the recording, on average. */
  readonly rate: number;
  readonly limitMs: number;
  readonly seed: number;
}

const FLEETS: readonly Fleet[] = [
  {
    balancer: 'round robin',
    executors: 1,
    baseMs: 40,
    perKibMs: 0,
    mostKib: 1,
    rate: 30,
    limitMs: 250,
    seed: 1,
  },
  {
    balancer: 'least connections',
    executors: 2,
    baseMs: 20,
    perKibMs: 15,
    mostKib: 4,
    rate: 50,
    limitMs: 400,
    seed: 2,
  },
  {
    balancer: 'round robin',
    executors: 4,
    baseMs: 100,
    perKibMs: 30,
    mostKib: 4,
    rate: 32,
    limitMs: 900,
    seed: 3,
  },
];
/** Fleets, and the multiples of the peak that are replayed to them. */
const CASES = repeated(
  FLEETS.slice(1, 2).map((fleet) => ({ fleet, timesPeak: [2] })),
  FLEETS.map((fleet) => ({ fleet, timesPeak: TIMES_PEAK })),
);
/** Cases in which one fewer would do: larger fleets share their load better. A short search is no narrower. */
const MOST_GENEROUS = 1;
/** How many more than needed are certain to hold. A search of a minute has three loads, so it is certain of little. */
const MOST_TOO_CERTAIN = repeated(Number.POSITIVE_INFINITY, 1);

/** Hands each request to one of several servers: in turn, or to one of those with the fewest that are open. */
const BALANCER = `
const http = require('node:http');
const [by, ...ports] = process.argv.slice(1);
const servers = ports.map((port) => ({ port, open: 0, agent: new http.Agent({ keepAlive: true }) }));
let turn = 0;
http.createServer((request, response) => {
  turn += 1;
  const inTurn = servers.map((_, at) => servers[(turn + at) % servers.length]);
  const server = by === 'round robin' ? inTurn[0] : inTurn.reduce((a, b) => (b.open < a.open ? b : a));
  server.open += 1;
  response.on('close', () => { server.open -= 1; });
  const { method, url: path, headers } = request;
  const { port, agent } = server;
  const onward = http.request({ host: '127.0.0.1', port, agent, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  request.pipe(onward);
}).listen(0, '127.0.0.1', function () { console.log('port ' + this.address().port); });`;

/** Runs `use` with so many replicas of a fleet behind its balancer. */
async function withReplicas<Result>(
  { balancer, executors, baseMs, perKibMs }: Fleet,
  replicas: number,
  use: (url: string) => Promise<Result>,
): Promise<Result> {
  const service = ['--executors', String(executors), '--base-ms', String(baseMs)];
  const servers = Array.from({ length: replicas }, () =>
    startProcess(process.execPath, [
      ...['fixtures/model-server/main.ts', '--listen', '127.0.0.1:0', ...service],
      ...['--per-kib-us', String(perKibMs * 1e3), '--keep-alive-timeout', '10m'],
    ]),
  );
  const ports = await Promise.all(
    servers.map(async (server) => {
      const [, port = ''] = await server.waitFor('stdout', /"listening":"[^"]+:(\d+)"/);
      return port;
    }),
  );
  const front = startProcess(process.execPath, ['-e', BALANCER, balancer, ...ports]);
  const [, port = ''] = await front.waitFor('stdout', /port (\d+)/);
  try {
    return await use(`http://127.0.0.1:${port}`);
  } finally {
    await Promise.all([front, ...servers].map((each) => each.kill('SIGKILL')));
  }
}

/** Requests at a rate that wanders by a third, and whose sizes vary; the same ones `passes` times. */
async function captureFor({ rate, baseMs, perKibMs, mostKib, seed }: Fleet, url: string, passes = 1) {
  const random = uniform(seed);
  const bodyOf = (kib: number) => JSON.stringify({ text: 'x'.repeat(Math.round(kib * 1024)) });
  const answer = await (await fetch(`${url}${PATH}`, { method: 'POST', body: bodyOf(0.1) })).text();
  const requests = [{ second: 0, kib: mostKib / 2 }];
  for (let second = 0; second < RECORDED_S; ) {
    second -= Math.log(random()) / (rate * 1.33);
    const kept = 1 + 0.33 * Math.sin((4 * Math.PI * second) / RECORDED_S);
    if (random() * 1.33 < kept && second < RECORDED_S) requests.push({ second, kib: mostKib * random() });
  }
  // The recording lasts exactly so long, so that a window is one pass over it.
  requests.push({ second: RECORDED_S - 1e-6, kib: mostKib / 2 });
  const all = Array.from({ length: passes }, (_, pass) =>
    requests.map(({ second, kib }) => ({ second: pass * RECORDED_S + second, kib })),
  );
  return captureOf(
    all.flat().map(({ second, kib }) => {
      const tookUs = Math.round((baseMs + perKibMs * kib) * 1e3);
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + Math.round(second * 1e6),
        route: `POST ${PATH}`,
        model: 'ranker',
        firstByteOffsetUs: tookUs,
        lastByteOffsetUs: tookUs + 500,
        request: requestMessage({ target: PATH, body: bodyOf(kib) }),
        response: responseMessage(200, answer),
      });
    }),
  );
}

const sloOf = ({ limitMs }: Fleet) => ['--slo', `latency: p(95)<${limitMs}`];

/** Numbers of replicas for multiples of the peak, as a search of two replicas prints them. */
async function sizingOf(fleet: Fleet) {
  const { stdout, stderr } = await withReplicas(fleet, SEARCHED_REPLICAS, async (url) =>
    runReprise([
      ...['capacity', await captureFor(fleet, url), '--target', url, ...sloOf(fleet), '--budget', BUDGET],
      ...['--replicas', String(SEARCHED_REPLICAS), '--step', `${RECORDED_S}s`, '--cool-down', '0s'],
      ...['--multiplier', '0.5..4', '--width', '5%', '--compare-at-1x', repeated('off', 'p50=10')],
      ...['--out', join(temporaryDirectory(), 'out'), '--json'],
    ]),
  );
  process.stderr.write(`${stderr.replace(/^/gm, '  ')}\n`);
  const { sizing, breakingPoint } = capacitySchema.parse(JSON.parse(stdout));
  const { passes, fails, interval } = breakingPoint;
  process.stderr.write(
    `  passes ${passes?.multiplier}, fails ${fails?.multiplier}, interval ${interval?.join(' to ')}\n`,
  );
  return (timesPeak: number) => sizing?.replicasNeeded.find((each) => each.timesPeak === timesPeak);
}

/** Whether so many replicas meet the objective at a multiple of the recorded load. */
async function holds(fleet: Fleet, replicas: number, timesPeak: number): Promise<boolean> {
  for (let play = 1; replicas > 0 && play <= PLAYS; play += 1) {
    if (await holdsOnce(fleet, replicas, timesPeak)) return true;
  }
  return false;
}

async function holdsOnce(fleet: Fleet, replicas: number, timesPeak: number): Promise<boolean> {
  const replayed = await withReplicas(fleet, replicas, async (url) =>
    replay(await captureFor(fleet, url, PASSES), url, [
      ...['--multiplier', String(timesPeak), '--scaling', 'compress', ...sloOf(fleet), '--json'],
    ]),
  );
  const { verdict, slo } = documentOf(replayed);
  const observed = slo.map((each) => `${each.expression} ${each.observed}`).join(', ');
  process.stderr.write(`  ${timesPeak}x to ${replicas}: ${verdict}, ${observed}\n`);
  return verdict !== 'FAIL';
}

/** How many more than printed are tried. */
const MOST_FURTHER = 3;

/** The smallest number of replicas that holds, sought from a number that is likely. */
async function neededFrom(likely: number, isEnough: (replicas: number) => Promise<boolean>): Promise<number> {
  let replicas = likely;
  while (replicas < likely + MOST_FURTHER && !(await isEnough(replicas))) replicas += 1;
  if (replicas === likely) while (await isEnough(replicas - 1)) replicas -= 1;
  return replicas;
}

it('gives the number of replicas that holds, where one fewer breaks', { timeout: 2_400_000 }, async () => {
  const found: { printed: number; certain: number; needed: number }[] = [];
  for (const { fleet, timesPeak } of CASES) {
    process.stderr.write(`${JSON.stringify(fleet)}\n`);
    const sized = await sizingOf(fleet);
    for (const times of timesPeak) {
      const printed = sized(times)?.replicasPassed ?? 0;
      const certain = sized(times)?.replicas ?? 0;
      expect(printed).toBeGreaterThan(0);
      const needed = await neededFrom(printed, (replicas) => holds(fleet, replicas, times));
      found.push({ printed, certain, needed });
      process.stderr.write(`${times}x: ${printed} by what passed, ${certain} certain; needed ${needed}\n`);
    }
  }
  const text = JSON.stringify(found);
  expect(found.filter(({ printed, needed }) => printed > needed).length, text).toBeLessThanOrEqual(
    MOST_GENEROUS,
  );
  for (const { printed, certain, needed } of found) {
    expect(printed, text).toBeGreaterThanOrEqual(needed);
    expect(printed - needed, text).toBeLessThanOrEqual(1);
    expect(certain, text).toBeGreaterThanOrEqual(printed);
    expect(certain - needed, text).toBeLessThanOrEqual(MOST_TOO_CERTAIN);
  }
});
