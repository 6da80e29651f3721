import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { freePort } from '../support/free-port.ts';
import { canMount } from '../support/host-abilities.ts';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PLANES } from '../support/planes.ts';
import { type RunningProcess, runReprise, startReprise } from '../support/process.ts';
import { EquationWatch, msUntil } from '../support/recorder-watch.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { smallDisk } from './fault-scene.ts';
import { canRefuseWrites, RefusingDisk } from './refused-writes.ts';

const CLIENTS = 6;
const DEEPEST = 4;
/** Requests of a connection: some outlive a recorder. */
const FEW_REQUESTS = 40;
const MANY_REQUESTS = 2_000;
const LONGEST_FILLER = 600;
const STEADY_MS = 20;

/**
 * Clients that each have up to four requests open on a connection, and write them in pieces. A new connection has
 * another depth and another number of requests. Each request has its own number, and each answer must have that of the
 * oldest open request.
 */
class PipeliningTraffic {
  /** Ids with a complete answer that contains the same id. */
  readonly succeeded: number[] = [];
  /** Ids of requests of which something was written, and that have no answer. */
  readonly unanswered: number[] = [];
  readonly wrong: string[] = [];
  readonly #random: SeededRandom;
  readonly #port: number;
  readonly #steady: boolean;
  readonly #loops: Promise<void>[];
  #nextId = 1;
  #stopped = false;

  /** @param steady one client on one connection that always has two requests open, each written whole */
  constructor(port: number, random: SeededRandom, steady = false) {
    this.#steady = steady;
    this.#port = port;
    this.#random = random;
    this.#loops = Array.from({ length: steady ? 1 : CLIENTS }, () => this.#loop());
  }

  /** Number of requests so far, answered or not; their ids count from 1. */
  get sent(): number {
    return this.#nextId - 1;
  }

  /** Lets every open request be answered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
      // A connection that ends early leaves its open requests unanswered; one that was refused carried none.
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      if (
        await Promise.race([
          once(socket, 'connect').then(
            () => true,
            () => false,
          ),
          closed,
        ])
      ) {
        await this.#converse(socket, closed);
      }
      socket.destroy();
      await closed;
      await sleep(20);
    }
  }

  async #converse(socket: Socket, closed: Promise<unknown>): Promise<void> {
    const depth = this.#steady ? 2 : 1 + this.#random.below(DEEPEST);
    let left = this.#steady
      ? Number.POSITIVE_INFINITY
      : 1 + this.#random.below(this.#random.below(2) === 0 ? FEW_REQUESTS : MANY_REQUESTS);
    const open: number[] = [];
    let text = '';
    let wake = () => {};
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text = this.#take(text + piece, open);
      wake();
    });
    socket.once('close', () => wake());
    while (!socket.destroyed && (open.length > 0 || (left > 0 && !this.#stopped))) {
      if (left > 0 && open.length < depth && !this.#stopped) {
        left -= 1;
        await this.#write(socket, open);
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    this.unanswered.push(...open);
    socket.end();
    await closed;
  }

  /** Writes a request, whole or in two pieces; sometimes the next one is in the same write. */
  async #write(socket: Socket, open: number[]): Promise<void> {
    const id = this.#nextId++;
    open.push(id);
    const body = JSON.stringify({ id, filler: 'x'.repeat(this.#random.below(LONGEST_FILLER)) });
    const head = `POST /v1/models/m:predict?id=${id} HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\n`;
    const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const cut = !this.#steady && this.#random.below(3) === 0 ? this.#random.below(request.length) : 0;
    socket.write(request.slice(0, cut));
    if (cut > 0) await sleep(this.#random.below(4));
    socket.write(request.slice(cut));
    // The answers to requests that are written together come together.
    if (this.#steady || this.#random.below(2) === 0)
      await sleep(this.#steady ? STEADY_MS : this.#random.below(6));
  }

  /** Takes complete answers, and returns what follows them. */
  #take(text: string, open: number[]): string {
    let rest = text;
    for (;;) {
      const headEnd = rest.indexOf('\r\n\r\n') + 4;
      const length = Number(/^content-length: (\d+)\r$/im.exec(rest.slice(0, headEnd))?.[1]);
      if (headEnd < 4 || rest.length < headEnd + length) return rest;
      const id = open.shift();
      const body = rest.slice(headEnd, headEnd + length);
      if (id !== undefined && body.startsWith(`{"id":${id},`)) this.succeeded.push(id);
      else this.wrong.push(`request ${id} was answered ${rest.slice(0, 15)} ${body.slice(0, 40)}`);
      rest = rest.slice(headEnd + length);
    }
  }
}

/** Of each death. In CI each is on one plane, in turn; in the long form on both. */
const CYCLES = repeated(2, 20);
const SECOND = 1_000;
/** So that the answers to pipelined requests come one by one. */
const ANSWER_MS = 5;
/** Of the disk that fills up. */
const DISK_MB = 192;

/** A recording under clients that pipeline. It is started again at the same port if its proxy dies. */
class Scene {
  readonly random: SeededRandom;
  readonly directory: string;
  readonly traffic: PipeliningTraffic;
  readonly #port: number;
  readonly #target: number;
  readonly #flags: readonly string[];
  readonly disk: RefusingDisk | null;
  process: RunningProcess;

  constructor(
    random: SeededRandom,
    directory: string,
    ports: { at: number; target: number },
    flags: readonly string[],
    disk: RefusingDisk | null,
  ) {
    this.random = random;
    this.directory = directory;
    this.#port = ports.at;
    this.#target = ports.target;
    this.#flags = flags;
    this.disk = disk;
    this.process = this.#start();
    this.traffic = new PipeliningTraffic(ports.at, random);
  }

  get recorder(): number {
    const started = [...this.process.stderr.matchAll(/"pid":(\d+),"message":"recorder started"/g)];
    return Number(started.at(-1)?.[1] ?? 0);
  }

  /** Drawn, so that the fault comes at any moment of a commit, an exchange or a start. */
  async wait(longestMs: number): Promise<void> {
    await sleep(this.random.below(longestMs + 1));
  }

  /** Waits until more is committed. */
  async records(): Promise<void> {
    const before = this.stored();
    await msUntil(30 * SECOND, 'it records', () => this.stored() > before);
  }

  /** Number of rows; none before there is a capture. */
  stored(): number {
    if (!existsSync(this.directory) || segmentsOf(this.directory).length === 0) return 0;
    const capture = openCapture(this.directory);
    const rows = [...capture.rows()].length;
    capture.close();
    return rows;
  }

  async replaced(recorder: number): Promise<void> {
    await msUntil(30 * SECOND, 'another takes its place', () => this.recorder !== recorder);
  }

  /** After a kill: what is known then is checked. */
  async startAgain(): Promise<void> {
    await this.process.finished;
    expectBounds(await inspect(this.directory), this.traffic);
    this.process = this.#start();
    await this.wait(SECOND);
  }

  #start(): RunningProcess {
    const at = ['--target', `127.0.0.1:${this.#target}`, '--listen', `127.0.0.1:${this.#port}`];
    const quick = ['--drain-delay', '0s', '--drain-deadline', '5s', '--probe-listen', '127.0.0.1:0'];
    const kept = ['--dir', this.directory, '--bodies', 'all'];
    const flags = ['--log-format', 'json', 'record', ...at, ...quick, ...kept, '--fail-open', ...this.#flags];
    return startReprise(flags, { ownGroup: true, env: this.disk?.env ?? {} });
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

interface Death {
  readonly who: string;
  /** Whether connections are cut, and nobody knows all that passed. */
  readonly cuts: boolean;
  readonly onDisk?: 'small' | 'refusing';
  readonly happen: (scene: Scene) => Promise<void>;
}

const DEATHS: readonly Death[] = [
  {
    who: 'the recorder is killed',
    cuts: false,
    happen: async (scene) => {
      const { recorder } = scene;
      process.kill(recorder, 'SIGKILL');
      await scene.replaced(recorder);
    },
  },
  {
    who: 'the recorder hangs, and is killed or goes on',
    cuts: false,
    happen: async (scene) => {
      const { recorder } = scene;
      process.kill(recorder, 'SIGSTOP');
      await scene.wait(1.5 * SECOND);
      const dies = scene.random.below(3) > 0;
      process.kill(recorder, dies ? 'SIGKILL' : 'SIGCONT');
      if (dies) await scene.replaced(recorder);
    },
  },
  {
    who: 'the disk is full for a while, and the recorder is killed or not',
    cuts: false,
    onDisk: 'small',
    happen: async (scene) => {
      const filler = join(scene.directory, '..', 'filler');
      const { recorder } = scene;
      spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M', `count=${DISK_MB}`], { stdio: 'ignore' });
      await scene.wait(SECOND);
      const dies = scene.random.below(2) === 0;
      if (dies) process.kill(recorder, 'SIGKILL');
      await scene.wait(SECOND);
      rmSync(filler);
      if (dies) await scene.replaced(recorder);
    },
  },
  {
    who: 'the disk takes no write for a while, and the recorder is killed or not',
    cuts: false,
    onDisk: 'refusing',
    happen: async (scene) => {
      scene.disk?.makeReadOnly();
      await scene.wait(1.5 * SECOND);
      const { recorder } = scene;
      const dies = scene.random.below(2) === 0;
      if (dies) killIfAlive(recorder);
      scene.disk?.mend();
      if (dies) await scene.replaced(recorder);
    },
  },
  {
    who: 'the proxy is killed',
    cuts: true,
    happen: async (scene) => {
      scene.process.child.kill('SIGKILL');
      await scene.startAgain();
    },
  },
  {
    who: 'all processes are killed, as they start or later',
    cuts: true,
    happen: async (scene) => {
      do {
        process.kill(-(scene.process.child.pid as number), 'SIGKILL');
        await scene.startAgain();
      } while (scene.random.below(3) === 0);
    },
  },
];

/** Every file opens, and SQLite finds nothing wrong in any. */
function expectSound(directory: string): void {
  const files = readdirSync(directory);
  expect(files.filter((file) => file.includes('damaged'))).toEqual([]);
  for (const file of files.filter((name) => name.endsWith('.sqlite'))) {
    const database = new Database(join(directory, file), { readonly: true });
    expect(database.pragma('quick_check', { simple: true }), file).toBe('ok');
    database.close();
  }
}

interface Account {
  readonly seen: { readonly turns: number };
  readonly recorded: { readonly turns: number };
  readonly lost: Readonly<Record<string, { readonly turns: number }>>;
}

/** Rows and losses are what the clients sent, and so says the capture. */
function expectExact(account: Account, document: InspectDocument, rows: number, sent: number): void {
  const lost = Object.values(account.lost).reduce((sum, { turns }) => sum + turns, 0);
  expect(account).toMatchObject({ seen: { turns: sent }, pending: { turns: 0, bytes: 0 }, omitted: {} });
  expect([account.recorded.turns, lost]).toEqual([rows, sent - rows]);
  expect(document).toMatchObject({ exchanges: rows, losses: { exact: true, exchanges: lost } });
  expect(document.coverage).toBeCloseTo(rows / sent, 9);
}

async function inspect(directory: string): Promise<InspectDocument> {
  const { stdout } = await runReprise(['inspect', directory, '--json']);
  return JSON.parse(stdout) as InspectDocument;
}

/** What was counted lies between what was answered and what was written, and the bounds on both sides of the truth. */
function expectBounds(document: InspectDocument, { succeeded, sent: most }: PipeliningTraffic): void {
  const { exchanges, losses, coverage, coverageAtLeast } = document;
  const least = succeeded.length;
  const counted = exchanges + losses.exchanges;
  expect(counted).toBeLessThanOrEqual(most);
  expect(counted + (losses.uncountedAtMost ?? Number.NaN)).toBeGreaterThanOrEqual(least);
  expect(coverage ?? 1).toBeGreaterThanOrEqual(exchanges / most);
  expect(coverageAtLeast).toBeLessThanOrEqual(exchanges / least);
}

const rows = PLANES.flatMap(([plane, flags], at) =>
  DEATHS.filter((_, nth) => repeated(nth % PLANES.length === at, true)).map((death) => ({
    plane,
    flags,
    ...death,
  })),
);

describe('again and again under clients that pipeline', () => {
  test.for(rows)('$plane: $who', { timeout: 1_800_000 }, async (row, { skip }) => {
    if (row.onDisk === 'small' && !canMount) skip('no file system can be mounted here');
    if (row.onDisk === 'refusing' && !canRefuseWrites) skip('no C compiler here');
    const seed = Number(process.env['TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
    process.stdout.write(`${row.plane}, ${row.who}: TEST_SEED=${seed}\n`);
    const origin = await new NumberedOrigin(200, ANSWER_MS).listen();
    const root = row.onDisk === 'small' ? smallDisk(DISK_MB) : temporaryDirectory();
    const directory = join(root, 'capture');
    const disk = row.onDisk === 'refusing' ? new RefusingDisk(root) : null;
    const ports = { at: await freePort(), target: origin.port };
    const scene = new Scene(new SeededRandom(seed), directory, ports, row.flags, disk);
    const { traffic } = scene;
    await scene.records();
    const [, probe] = await scene.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const watch = row.cuts ? null : new EquationWatch(Number(probe), 250);
    const everStored = new Set<number>();
    for (let cycle = 0; cycle < CYCLES; cycle += 1) {
      await scene.wait(SECOND / 2);
      for (const id of storedIds(directory)) everStored.add(id);
      await row.happen(scene);
      // A recorder that dies five times before it commits anything is given up.
      await scene.records();
    }
    await traffic.stop();
    await watch?.stop();
    scene.process.child.kill('SIGTERM');
    const { status, end } = await accountOf(scene.process);
    await origin.close();
    expect(status).toBe(0);
    expect(traffic.wrong).toEqual([]);
    expectSound(directory);
    const ids = storedIds(directory);
    const stored = new Set(ids);
    expect(stored.size).toBe(ids.length);
    expect([...everStored].filter((id) => !stored.has(id))).toEqual([]);
    expect(ids.filter((id) => id > traffic.sent)).toEqual([]);
    const document = await inspect(directory);
    expect(document.exchanges).toBe(ids.length);
    if (row.cuts) {
      expectBounds(document, traffic);
      expect(document.killed.every(({ foundAt }) => foundAt !== null)).toBe(true);
    } else {
      expect(traffic.unanswered).toEqual([]);
      expect(watch?.imbalances).toEqual([]);
      expectExact(end as unknown as Account, document, ids.length, traffic.sent);
      // Nobody removed a file.
      expect(document).toMatchObject({ missing: { exchanges: 0 }, withoutLog: [], killed: [] });
      const gaps = document.recorders.flatMap((recorder) => recorder.gaps);
      expect(gaps.filter(({ kind }) => kind === 'missing')).toEqual([]);
    }
    expect((await runReprise(['verify', directory])).status).toBe(0);
  });
});

test('a connection whose beginning only a recorder saw that hung and died has no row with the answer of another', async () => {
  const origin = await new NumberedOrigin(200, 8 * ANSWER_MS).listen();
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(origin.port, directory, ['--bodies', 'all']);
  const { recorder } = recording.children();
  process.kill(recorder, 'SIGSTOP');
  const traffic = new PipeliningTraffic(recording.port, new SeededRandom(1), true);
  await msUntil(30 * SECOND, 'answers', () => traffic.succeeded.length > 5);
  process.kill(recorder, 'SIGKILL');
  await msUntil(30 * SECOND, 'another takes its place', () => recording.children().recorder !== recorder);
  await msUntil(
    30 * SECOND,
    'it records',
    () =>
      recording.process.stderr.lastIndexOf('"HEALTHY"') >
      recording.process.stderr.lastIndexOf('recorder started'),
  );
  const before = traffic.succeeded.length;
  await msUntil(30 * SECOND, 'more answers', () => traffic.succeeded.length > before + 20);
  await traffic.stop();
  const { end } = await recording.stop();
  await origin.close();
  expect(traffic.wrong).toEqual([]);
  expect(storedIds(directory)).toEqual([]);
  expect(end).toMatchObject({ lost: { writer_down: { turns: traffic.succeeded.length } }, exchanges: 0 });
});
