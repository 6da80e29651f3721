import type { Clock } from '../../core/clock.ts';

/** What a gate says of a test. Only a run that ended with a verdict of its own passes or fails. */
type GateResult = 'PASS' | 'FAIL' | 'INCONCLUSIVE' | 'RUNNING';

/** How a test ended. */
export interface TestEnd {
  readonly result: Exclude<GateResult, 'RUNNING'>;
  /** Why, one line each; empty for a pass. */
  readonly reasons: readonly string[];
  /** Its run; null where it came to none. */
  readonly run: string | null;
}

/** Plays a test to its end; never throws. */
export type PlayTest = (scenario: string, signal: AbortSignal) => Promise<TestEnd>;

/** What the tests of a queue are. */
interface Tests {
  readonly play: PlayTest;
  /** Another text for a scenario that is no longer the same. */
  versionOf(scenario: string): string;
}

/** Names a test. */
export interface TestName {
  readonly scenario: string;
  /** What is deployed: a newer id of the same takes the place of an older one on the target. */
  readonly subject: string;
  /** Names the deployment that is tested: asking again with the same one starts nothing. */
  readonly id: string;
}

interface TestState {
  readonly scenario: string;
  readonly id: string;
  readonly result: GateResult;
  readonly reasons: readonly string[];
  readonly run: string | null;
  /** Tests before it, the one that plays included; 0 once it plays. */
  readonly ahead: number;
}
export type TestView = Readonly<TestState>;

interface Entry extends TestName {
  readonly key: string;
  /** Ends it where a newer one takes its place. */
  readonly superseded: AbortController;
  end: TestEnd | null;
  /** When it ended, for how long it is remembered. */
  endedNs: number;
  readonly waiters: Set<() => void>;
}

/** How much a queue holds. */
export interface QueueLimits {
  /** Tests that may wait for the one that plays. */
  readonly waiting: number;
  /** Ended tests that are remembered, and for how long. */
  readonly remembered: number;
  readonly rememberMs: number;
}

/**
 * Tests one after the other, because two at one time would measure each other. A test asked for again by its name is the
 * same test, until its end is forgotten or its scenario is another. Where a newer id of the same subject is asked for
 * before a test has ended, the target is no longer what was to be tested: the test ends undecided, and is forgotten.
 */
export class TestQueue {
  readonly #tests: Tests;
  readonly #clock: Clock;
  readonly #limits: QueueLimits;
  /** In the order in which they were asked for. */
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();
  #playing: Promise<void> | null = null;

  constructor(tests: Tests, clock: Clock, limits: QueueLimits) {
    this.#tests = tests;
    this.#clock = clock;
    this.#limits = limits;
  }

  /**
   * The test of that name, which is started unless it is known, once it has ended or the signal has aborted. Null where
   * too many wait already.
   */
  async ask(name: TestName, signal: AbortSignal): Promise<TestView | null> {
    const entry = this.#known(name) ?? this.#start(name);
    if (entry === null) return null;
    await ended(entry, signal);
    return this.#viewOf(entry);
  }

  /** The test of that name; null where nobody asked for it, or its end is forgotten. */
  look(name: TestName): TestView | null {
    const entry = this.#known(name);
    return entry === null ? null : this.#viewOf(entry);
  }

  /** All that are known, the oldest first. */
  list(): TestView[] {
    this.#forget();
    return [...this.#entries.values()].map((entry) => this.#viewOf(entry));
  }

  /** Ends the test that plays. Those that have come to no verdict stay open: it was not they that ended. */
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
