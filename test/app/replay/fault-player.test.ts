import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { FaultStatistics } from '../../../src/analysis/run/fault-statistics.ts';
import { FaultPlayer, readFaultPlan } from '../../../src/app/replay/fault-player.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { echoServer, PlainClient, type RelayUnderTest, startRelay } from '../../support/fault-relay.ts';
import { send } from '../../support/sends.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };
const WORD = Buffer.from('hello');

interface Scene {
  readonly duration?: string;
  /** What happens in the run before its outage, and in that. */
  readonly before?: () => Promise<unknown>;
  readonly during?: () => Promise<unknown>;
}

/** Plays one outage. @returns its document, of a run whose requests fail until then */
async function played(relay: RelayUnderTest, { duration = '50s', before, during }: Scene) {
  const file = join(temporaryDirectory(), 'plan.yaml');
  const down = { proxy: 'dep', fault: 'down', start: '1ms', duration };
  writeFileSync(file, JSON.stringify({ control: relay.running.control, faults: [down] }));
  const plan = readFaultPlan(file, 60e9, 0);
  const player = new FaultPlayer(plan, 'run-1', systemClock, SILENT);
  let startNs: number | null = null;
  await player.begin(() => (startNs === null ? 0 : systemClock.nowNs() - startNs));
  await before?.();
  startNs = systemClock.nowNs();
  const cuts = async () => (await relay.control.counts())[0]?.injected ?? 0;
  const known = await cuts();
  while ((await cuts()) === known) await sleep(5);
  await during?.();
  await player.end();
  return (goodFromS: number) => {
    const statistics = new FaultStatistics(plan.faults, 0, { objectives: [], isCompared: false });
    for (let index = 0; index < 4_000; index += 1) {
      const intendedOffsetNs = index * 20e6;
      statistics.addSends([
        send({ index, intendedOffsetNs, status: intendedOffsetNs < goodFromS * 1e9 ? 503 : 200 }),
      ]);
    }
    return player.document(statistics.figures(), true).faults[0];
  };
}

async function relayTo(): Promise<RelayUnderTest> {
  return await startRelay(`127.0.0.1:${await echoServer()}`);
}

async function come({ port }: RelayUnderTest): Promise<PlainClient> {
  const client = await PlainClient.to(port);
  await client.echo(WORD);
  return client;
}

async function comeAndGo(relay: RelayUnderTest): Promise<void> {
  (await come(relay)).socket.destroy();
  while (!/open_connections 0/.test(await (await fetch(`${relay.origin}/metrics`)).text())) await sleep(5);
}

test('a proxy that somebody switched on before the end of its outage was not down as planned', async () => {
  const relay = await relayTo();
  const document = await played(relay, {
    before: () => come(relay),
    during: () => relay.control.enable('dep', true),
  });
  expect(document(0)?.problem).toContain('switched on');
});

test('an outage that no connection of the run met touched nothing', async () => {
  const relay = await relayTo();
  await comeAndGo(relay);
  expect((await played(relay, {}))(0)).toMatchObject({ connections: 0, injected: 0 });
  const met = await played(relay, { before: () => comeAndGo(relay) });
  expect(met(0)).toMatchObject({ connections: 0, injected: 1 });
  await come(relay);
  expect((await played(relay, {}))(0)).toMatchObject({ connections: 1, injected: 1 });
});

test('the time to recover runs from when the fault was over', async () => {
  const relay = await relayTo();
  const over = async () => {
    while ((await relay.control.proxies())[0]?.enabled === false) await sleep(5);
  };
  const document = await played(relay, { duration: '1ms', during: over });
  const removedS = document(0)?.removedS ?? 0;
  expect(removedS).toBeGreaterThan(0.002);
  // A request is sent each 20 ms: the first that is answered is the first after an instant between two of them.
  const firstGood = Math.ceil((removedS + 1) / 0.02);
  expect(document((firstGood - 0.5) * 0.02)?.recovery.s).toBeCloseTo(firstGood * 0.02 - removedS, 6);
});

test('what an outage ended is not counted to the next one of the same proxy', async () => {
  const relay = await relayTo();
  await come(relay);
  const file = join(temporaryDirectory(), 'plan.yaml');
  const down = { proxy: 'dep', fault: 'down', duration: '1ms' };
  const faults = [
    { ...down, name: 'first', start: '1ms' },
    { ...down, name: 'second', start: '2s' },
  ];
  writeFileSync(file, JSON.stringify({ control: relay.running.control, faults }));
  const plan = readFaultPlan(file, 60e9, 0);
  const player = new FaultPlayer(plan, 'run-1', systemClock, SILENT);
  let nowNs = 0;
  await player.begin(() => nowNs);
  // Long after both were due: the player plays what it missed, one after the other.
  nowNs = 10e9;
  while ((await relay.control.counts())[0]?.injected !== 2) await sleep(5);
  while ((await relay.control.proxies())[0]?.enabled === false) await sleep(5);
  await player.end();
  const statistics = new FaultStatistics(plan.faults, 0, { objectives: [], isCompared: false });
  const { faults: documents } = player.document(statistics.figures(), true);
  expect(documents.map(({ connections, injected }) => [connections, injected])).toEqual([
    [1, 1],
    [0, 0],
  ]);
});
