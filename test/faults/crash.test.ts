import { existsSync, readdirSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { PLANES } from '../support/planes.ts';
import { runReprise } from '../support/process.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A hundred of each, on both planes, are a suite of their own: `test/faults/crash-cycles.test.ts`. */
const KILLS = 4;

let origin: ReturnType<typeof createServer>;
let originPort = 0;

beforeEach(async () => {
  origin = createServer((incoming, answer) => {
    incoming.resume();
    incoming.on('end', () => answer.end('{"ok":true}'));
  });
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  const address = origin.address();
  if (address !== null && typeof address === 'object') originPort = address.port;
});
afterEach(() => {
  origin.closeAllConnections();
  origin.close();
});

/** Eight clients in closed loop through the recorder until told to stop; failures are counted, not raised. */
class Traffic {
  answered = 0;
  failed = 0;
  #stopped = false;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });
  readonly #port: number;
  readonly #loops: Promise<void>[];

  constructor(port: number) {
    this.#port = port;
    this.#loops = Array.from({ length: 8 }, () => this.#loop());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      if (await this.#ask()) this.answered += 1;
      else this.failed += 1;
      await sleep(5);
    }
  }

  #ask(): Promise<boolean> {
    return new Promise((resolve) => {
      const options = {
        port: this.#port,
        host: '127.0.0.1',
        agent: this.#agent,
        method: 'POST',
        path: '/v1/models/m:predict',
      };
      const asked = request(options, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.complete));
        answer.on('error', () => resolve(false));
      });
      asked.on('error', () => resolve(false));
      asked.end('{"instances":[1,2,3]}');
    });
  }
}

/** Names of all exchanges that a reader finds now. */
function committed(directory: string): Set<string> {
  const capture = openCapture(directory);
  const names = new Set<string>();
  for (const row of capture.rows()) names.add(`${row.segment}#${row.id}`);
  capture.close();
  return names;
}

/** All committed exchanges, once there are more than `count`. */
async function grown(directory: string, count: number): Promise<Set<string>> {
  for (;;) {
    const names = existsSync(directory) ? committed(directory) : new Set<string>();
    if (names.size > count) return names;
    await sleep(150);
  }
}

async function killUnderTraffic(recording: RecordingProcess, directory: string): Promise<Set<string>> {
  const everCommitted = new Set<string>();
  for (let kill = 0; kill < KILLS; kill += 1) {
    const before = recording.children().recorder;
    for (const name of await grown(directory, everCommitted.size)) everCommitted.add(name);
    process.kill(before, 'SIGKILL');
    while (recording.children().recorder === before) await sleep(20);
  }
  await sleep(500);
  return everCommitted;
}

async function expectWhole(directory: string, everCommitted: Set<string>): Promise<Record<string, unknown>> {
  const now = committed(directory);
  expect(everCommitted.size).toBeGreaterThan(0);
  expect([...everCommitted].filter((name) => !now.has(name))).toEqual([]);
  const { status, stdout } = await runReprise(['inspect', directory, '--json']);
  expect(status).toBe(0);
  expect(readdirSync(directory).filter((file) => file.includes('damaged'))).toEqual([]);
  const document = JSON.parse(stdout) as { exchanges: number };
  expect(document.exchanges).toBe(now.size);
  return document;
}

describe.each(PLANES)('kill -9 under traffic, %s', (_plane, flags) => {
  it('of the recorder: no request fails, nothing committed is lost, and every gap is counted', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(originPort, directory, flags);
    const traffic = new Traffic(recording.port);
    const everCommitted = await killUnderTraffic(recording, directory);
    await traffic.stop();
    const { status, end } = await recording.stop();
    expect(status).toBe(0);
    expect(traffic.failed).toBe(0);
    const document = await expectWhole(directory, everCommitted);
    // What was acknowledged is there; what is neither there nor acknowledged is counted lost.
    const account = end as unknown as {
      seen: { turns: number };
      exchanges: number;
      lost: { writer_down: { turns: number } };
    };
    expect(account).toMatchObject({ pending: { turns: 0, bytes: 0 } });
    expect(account.seen.turns).toBe(traffic.answered);
    expect(account.exchanges).toBe(document['exchanges']);
    expect(account.exchanges + account.lost.writer_down.turns).toBe(traffic.answered);
    expect(document).toMatchObject({
      losses: {
        exact: true,
        exchanges: account.lost.writer_down.turns,
        byReason: { writer_down: { exchanges: account.lost.writer_down.turns } },
      },
    });
  });
});
