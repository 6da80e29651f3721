import type { Clock } from '../../core/clock.ts';

/** The state of a test for a gate. Only a completed run with a verdict passes or fails. */
type GateResult = 'PASS' | 'FAIL' | 'INCONCLUSIVE' | 'RUNNING';

/** The end of a test. */
export interface TestEnd {
  readonly result: Exclude<GateResult, 'RUNNING'>;
  /** The reasons, one line each; empty for a pass. */
  readonly reasons: readonly string[];
  /** The run of the test; null if there is none. */
  readonly run: string | null;
}

/** Runs a test to its end. Never throws. */
export type PlayTest = (scenario: string, signal: AbortSignal) => Promise<TestEnd>;

/** Runs the tests of a queue. */
interface Tests {
  readonly play: PlayTest;
  /** A text that changes when the scenario changes. */
  versionOf(scenario: string): string;
}

/** Identifies a test. */
export interface TestName {
  readonly scenario: string;
  /** The deployed object. A newer id of the same object replaces the older one on the target. */
  readonly subject: string;
  /** Identifies the tested deployment. Another request with the same id starts no new test. */
  readonly id: string;
}

interface TestState {
  readonly scenario: string;
  readonly id: string;
  readonly result: GateResult;
  readonly reasons: readonly string[];
  readonly run: string | null;
  /** Number of earlier tests, including the running one; 0 when it runs itself. */
  readonly ahead: number;
}
export type TestView = Readonly<TestState>;

interface Entry extends TestName {
  readonly key: string;
  /** Ends the test when a newer one replaces it. */
  readonly superseded: AbortController;
  end: TestEnd | null;
  /** The time of its end, after which it is remembered for a limited time. */
  endedNs: number;
  readonly waiters: Set<() => void>;
}

/** The limits of a queue. */
export interface QueueLimits {
  /** Tests that may wait while another one runs. */
  readonly waiting: number;
  /** The number of ended tests that are remembered, and for how long. */
  readonly remembered: number;
  readonly rememberMs: number;
}

/**
 * Runs tests one after the other, because parallel tests would influence each other. A request with the same name
 * refers to the same test, until its end is forgotten or its scenario changes. If a newer id of the same subject is
 * requested before a test has ended, the target has changed. Then the test ends undecided and is forgotten.
 */
export class TestQueue {
  readonly #tests: Tests;
  readonly #clock: Clock;
  readonly #limits: QueueLimits;
  /** In the order of the requests. */
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();
  #playing: Promise<void> | null = null;

  constructor(tests: Tests, clock: Clock, limits: QueueLimits) {
    this.#tests = tests;
    this.#clock = clock;
    this.#limits = limits;
  }

  /**
   * Returns the test with this name when it has ended or the signal has aborted. Starts it if it is unknown. Null if
   * too many tests are waiting.
   */
  async ask(name: TestName, signal: AbortSignal): Promise<TestView | null> {
    const entry = this.#known(name) ?? this.#start(name);
    if (entry === null) return null;
    await ended(entry, signal);
    return this.#viewOf(entry);
  }

  /** The test with this name; null if nobody requested it, or if its end was forgotten. */
  look(name: TestName): TestView | null {
    const entry = this.#known(name);
    return entry === null ? null : this.#viewOf(entry);
  }

  /** All known tests, the oldest first. */
  list(): TestView[] {
    this.#forget();
    return [...this.#entries.values()].map((entry) => this.#viewOf(entry));
  }

  /** Ends the running test. Tests without a verdict stay open, because only the queue ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#playing;
  }

  #known(name: TestName): Entry | null {
    this.#forget();
    return this.#entries.get(this.#keyOf(name)) ?? null;
  }

  #start(name: TestName): Entry | null {
    const others = this.#open().filter((each) => !isSameSubject(each, name));
    if (this.#stop.signal.aborted || others.length > this.#limits.waiting) return null;
    for (const older of this.#open().filter((each) => isSameSubject(each, name)))
      this.#supersede(older, name);
    const key = this.#keyOf(name);
    const entry = {
      ...name,
      key,
      superseded: new AbortController(),
      end: null,
      endedNs: 0,
      waiters: new Set<() => void>(),
    };
    this.#entries.set(key, entry);
    this.#playing ??= this.#playAll();
    return entry;
  }

  #supersede(older: Entry, { id }: TestName): void {
    this.#entries.delete(older.key);
    const reason = `superseded: ${id} was asked for, so the target is no longer what was to be tested`;
    this.#end(older, { result: 'INCONCLUSIVE', reasons: [reason], run: null });
    older.superseded.abort();
  }

  async #playAll(): Promise<void> {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const signal = AbortSignal.any([this.#stop.signal, next.superseded.signal]);
      const end = await this.#tests.play(next.scenario, signal);
      const isCut = this.#stop.signal.aborted && end.result === 'INCONCLUSIVE';
      if (next.end === null && !isCut) this.#end(next, end);
    }
    this.#playing = null;
  }

  #end(entry: Entry, end: TestEnd): void {
    entry.end = end;
    entry.endedNs = this.#clock.nowNs();
    for (const wake of entry.waiters) wake();
    entry.waiters.clear();
  }

  #next(): Entry | undefined {
    return this.#stop.signal.aborted ? undefined : this.#open()[0];
  }

  #open(): Entry[] {
    return [...this.#entries.values()].filter(({ end }) => end === null);
  }

  #viewOf(entry: Entry): TestView {
    const { scenario, id, end } = entry;
    if (end !== null) return { scenario, id, ...end, ahead: 0 };
    const ahead = this.#open().indexOf(entry);
    return { scenario, id, result: 'RUNNING', reasons: [], run: null, ahead };
  }

  #keyOf({ scenario, subject, id }: TestName): string {
    return [scenario, this.#tests.versionOf(scenario), subject, id].join('\n');
  }

  #forget(): void {
    const oldestNs = this.#clock.nowNs() - this.#limits.rememberMs * 1e6;
    const ended = [...this.#entries].filter(([, { end }]) => end !== null);
    const surplus = ended.length - this.#limits.remembered;
    ended.forEach(([key, { endedNs }], at) => {
      if (at < surplus || endedNs < oldestNs) this.#entries.delete(key);
    });
  }
}

/** Resolves when the test ends, or the signal aborts. */
async function ended(entry: Entry, signal: AbortSignal): Promise<void> {
  if (entry.end !== null || signal.aborted) return;
  await new Promise<void>((resolve) => {
    entry.waiters.add(resolve);
    const leave = () => {
      entry.waiters.delete(resolve);
      resolve();
    };
    signal.addEventListener('abort', leave, { once: true });
  });
}

function isSameSubject(one: TestName, other: TestName): boolean {
  return one.scenario === other.scenario && one.subject === other.subject;
}
