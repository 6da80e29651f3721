import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { untilStatus } from '../support/control.ts';
import { grpcMessage } from '../support/grpc.ts';
import { callOnce, echoServer } from '../support/http2-calls.ts';
import { repeated } from '../support/long-form.ts';
import { startRecording } from '../support/recording.ts';
import { SteadyCalls } from '../support/steady-calls.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A recorder in front of a server that answers each call with its own body. */
async function recordedServer() {
  const directory = join(temporaryDirectory(), 'capture');
  return { directory, recording: await startRecording(await echoServer(), directory) };
}

/** MiB of a process, shared pages by their share. */
function pssMib(pid: number): number {
  const [, kib = '0'] = /^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

const IDLE_CONNECTIONS = 1_000;
const MEMORY_MIB = 256;

test('1,000 idle connections and 200 calls a second of 10 KB fit into 256 MiB, and nothing is lost', async () => {
  const { recording } = await recordedServer();
  // Each has made a call, so that both its header tables are known and kept.
  for (let opened = 0; opened < IDLE_CONNECTIONS; opened += 1) {
    const session = connect(`http://127.0.0.1:${recording.port}`);
    session.on('error', () => undefined);
    await once(session, 'connect');
    expect(await callOnce(session, grpcMessage('first'), '/m.S/First')).toEqual(grpcMessage('first'));
  }
  const calls = await SteadyCalls.start(recording.port, {
    connections: 4,
    perSecond: 50,
    bodyBytes: () => 10_000,
  });
  let mostMib = 0;
  for (let second = 0; second < repeated(10, 60); second += 1) {
    await sleep(1_000);
    const { proxy, recorder } = recording.children();
    mostMib = Math.max(mostMib, pssMib(proxy) + pssMib(recorder));
  }
  await calls.stop();
  const { end } = await recording.stop();
  console.log(`${mostMib.toFixed(0)} MiB with ${IDLE_CONNECTIONS} idle connections, ${calls.sent} calls`);
  expect(calls.failed).toEqual([]);
  expect(end).toMatchObject({ exchanges: IDLE_CONNECTIONS + calls.sent, lost: {} });
  expect(mostMib).toBeLessThan(MEMORY_MIB);
});

/**
 * Share and milliseconds by which the p99 of clients may grow, whichever is more. A recorder dies every two seconds
 * here, and its start takes half a second of one of two processors. The figure is that of the long form.
 */
const GROWTH = { factor: repeated(1.5, 1.1), ms: repeated(15, 2) };
/** A neighbour's burst may hold either turn of a pair: on a busy machine the median needs more of them. */
const PAIRS = { least: repeated(3, 5), most: repeated(7, 9) };

test('clients hardly notice deaths of the recorder: p99, compared in pairs of turns', async () => {
  const { directory, recording } = await recordedServer();
  const calls = await SteadyCalls.start(recording.port, {
    connections: 3,
    perSecond: 300,
    bodyBytes: () => 2_048,
  });
  await sleep(3_000);
  let deaths = 0;
  const p99Of = async (isFaulty: boolean): Promise<number> => {
    calls.takeLatenciesMs();
    for (let turn = 0; turn < 3; turn += 1) {
      if (isFaulty) {
        process.kill(recording.children().recorder, 'SIGKILL');
        deaths += 1;
      }
      await sleep(2_000);
      await untilStatus(
        directory,
        ({ state, restarts }) => state === 'HEALTHY' && restarts.recorder === deaths,
      );
    }
    const latencies = calls.takeLatenciesMs().sort((a, b) => a - b);
    return latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN;
  };
  const pairs: { readonly without: number; readonly faulty: number }[] = [];
  const medianBeyondMs = () =>
    pairs
      .map(({ without, faulty }) => faulty - Math.max(without * GROWTH.factor, without + GROWTH.ms))
      .sort((a, b) => a - b)[Math.floor(pairs.length / 2)] ?? Number.NaN;
  do pairs.push({ without: await p99Of(false), faulty: await p99Of(true) });
  while (pairs.length < PAIRS.least || (medianBeyondMs() >= 0 && pairs.length < PAIRS.most));
  await calls.stop();
  const { end } = await recording.stop();
  console.log(
    pairs.map(({ without, faulty }) => `${without.toFixed(1)} → ${faulty.toFixed(1)} ms`).join(', '),
  );
  expect(calls.failed).toEqual([]);
  expect(end).toMatchObject({ pending: { turns: 0 } });
  expect(medianBeyondMs()).toBeLessThan(0);
});
