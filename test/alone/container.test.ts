import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { canGroup } from '../support/host-abilities.ts';
import { startProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const ROOT = '/sys/fs/cgroup';

/** Limits like those of a container, by control groups of version 1. Needs root. */
class Container {
  readonly #memory: string;
  readonly #cpu: string;

  constructor(cpus: number, memoryBytes: number) {
    const name = `reprise-test-${process.pid}`;
    this.#memory = join(ROOT, 'memory', name);
    this.#cpu = join(ROOT, 'cpu', name);
    for (const group of this.groups) mkdirSync(group);
    writeFileSync(join(this.#memory, 'memory.limit_in_bytes'), String(memoryBytes));
    writeFileSync(join(this.#cpu, 'cpu.cfs_period_us'), '100000');
    writeFileSync(join(this.#cpu, 'cpu.cfs_quota_us'), String(cpus * 100_000));
  }

  get groups(): readonly string[] {
    return [this.#memory, this.#cpu];
  }

  /** Peak memory, including the page cache, which the kernel reclaims before it kills a process. */
  get peakBytes(): number {
    return Number(readFileSync(join(this.#memory, 'memory.max_usage_in_bytes'), 'utf8'));
  }

  /** Number of processes that the kernel killed because of the memory limit. */
  get killed(): number {
    const text = existsSync(join(this.#memory, 'memory.oom_control'))
      ? readFileSync(join(this.#memory, 'memory.oom_control'), 'utf8')
      : '';
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  remove(): void {
    for (const group of this.groups) spawnSync('rmdir', [group]);
  }
}

const SECONDS = 20;
const RATE_PER_SECOND = 200;
const STREAMS = 200;
const CONTAINER_BYTES = 256 * 1024 * 1024;

interface Outcome {
  readonly latenciesMs: number[];
  readonly failed: string[];
  streams: number;
}

/** Rounds that are played where the first shows harm: both after it must show that it was a neighbour's. */
const ROUNDS_MAX = 3;
const P50_MORE_MS = 5;
const P99_MORE_MS = 100;

/** One request to its end; null when it was answered 200 and whole. */
function ask(port: number, agent: Agent, path: string, body: string): Promise<string | null> {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, agent, method: 'POST', path, headers }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode === 200 ? null : `status ${answer.statusCode}`));
      answer.on('error', (error) => resolve(error.message));
    });
    asked.on('error', (error) => resolve(error.message));
    asked.end(body);
  });
}

/** 200 requests of 10 KB a second in open loop, and 200 event streams at all times. */
async function load(port: number): Promise<Outcome> {
  const outcome: Outcome = { latenciesMs: [], failed: [], streams: 0 };
  const agent = new Agent({ keepAlive: true });
  const instances = JSON.stringify({
    instances: [Array.from({ length: 1_250 }, (_, index) => index % 1_000)],
  });
  const prompt = JSON.stringify({
    model: 'm',
    stream: true,
    max_tokens: 40,
    messages: [{ role: 'user', content: 'Tell me something long.' }],
  });
  const endsMs = performance.now() + SECONDS * 1_000;
  const running: Promise<void>[] = Array.from({ length: STREAMS }, async () => {
    while (performance.now() < endsMs) {
      const reason = await ask(port, agent, '/v1/chat/completions', prompt);
      if (reason === null) outcome.streams += 1;
      else outcome.failed.push(`stream: ${reason}`);
    }
  });
  for (let sent = 0, startMs = performance.now(); sent < RATE_PER_SECOND * SECONDS; sent += 1) {
    const dueMs = startMs + (sent * 1_000) / RATE_PER_SECOND;
    if (dueMs > performance.now()) await sleep(dueMs - performance.now());
    const one = ask(port, agent, '/v1/models/classifier:predict', instances).then((reason) => {
      outcome.latenciesMs.push(performance.now() - dueMs);
      if (reason !== null) outcome.failed.push(reason);
    });
    running.push(one);
  }
  await Promise.all(running);
  agent.destroy();
  outcome.latenciesMs.sort((a, b) => a - b);
  return outcome;
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

interface Round {
  readonly direct: Outcome;
  readonly through: Outcome;
}

interface More {
  readonly p50: number;
  readonly p99: number;
}

function moreMs({ direct, through }: Round): More {
  const more = (share: number) => quantile(through.latenciesMs, share) - quantile(direct.latenciesMs, share);
  return { p50: more(0.5), p99: more(0.99) };
}

function isUnharmed(round: Round): boolean {
  const { p50, p99 } = moreMs(round);
  return p50 < P50_MORE_MS && p99 < P99_MORE_MS;
}

// The wire's alone: how much one processor carries is stated of the plane that reads nothing on the way. What befalls a
// recorder process that is short of memory is tested on both (`writer-faults-*.test.ts`).
test.skipIf(!canGroup)(
  'one processor and 256 MiB carry 200 requests a second of 10 KB and 200 event streams, and what is lost is counted (no control groups of version 1 can be made here)',
  async () => {
    const container = new Container(1, CONTAINER_BYTES);
    try {
      const server = startProcess(process.execPath, [
        join(repositoryRoot, 'fixtures', 'model-server', 'main.ts'),
        ...['--listen', '127.0.0.1:0', '--executors', '500', '--token-ms', '25', '--base-ms', '1'],
        // An idle connection that the server closes just when it is taken again fails without a recorder, too.
        ...['--keep-alive-timeout', '10m'],
      ]);
      const [, origin] = await server.waitFor('stdout', /127\.0\.0\.1:(\d+)/);
      const directory = join(temporaryDirectory(), 'capture');
      const flags = ['--bodies', 'all', '--probe-listen', 'off', '--drain-delay', '0s'];
      const recording = await startRecording(Number(origin), directory, flags, {
        controlGroups: container.groups,
      });
      const rounds: Round[] = [];
      do rounds.push({ direct: await load(Number(origin)), through: await load(recording.port) });
      while (rounds.length < ROUNDS_MAX && !(rounds[0] && isUnharmed(rounds[0])));
      const { status, log, end } = await recording.stop();
      await server.kill('SIGTERM');

      expect(rounds.map(({ direct, through }) => [direct.failed, through.failed])).toEqual(
        rounds.map(() => [[], []]),
      );
      expect(status).toBe(0);
      expect(container.killed).toBe(0);
      expect(log.filter(({ message }) => /killing|ended/.test(message))).toEqual([]);
      for (const { direct, through } of rounds) {
        // Streams are paced by the server: as many as without the recorder, less what its own time costs.
        expect(through.streams).toBeGreaterThan(direct.streams * 0.9);
      }
      const decisive = rounds.length === 1 ? rounds : rounds.slice(1);
      expect(decisive.every(isUnharmed), JSON.stringify(rounds.map(moreMs))).toBe(true);
      const account = end as unknown as {
        seen: { turns: number };
        recorded: { turns: number };
        lost: Record<string, { turns: number }>;
        pending: { turns: number };
      };
      const lost = Object.values(account.lost).reduce((sum, { turns }) => sum + turns, 0);
      expect(account.recorded.turns + lost).toBe(account.seen.turns);
      const asked = rounds.map(({ through }) => through.streams + through.latenciesMs.length);
      expect(account.seen.turns).toBe(asked.reduce((sum, requests) => sum + requests, 0));
    } finally {
      container.remove();
    }
  },
);
