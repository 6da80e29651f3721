import type { Clock } from '../../core/clock.ts';

/** What a gate says of a test. Only a run that ended with a verdict of its own passes or fails. */
export type GateResult = 'PASS' | 'FAIL' | 'INCONCLUSIVE' | 'RUNNING';

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

interface TestState {
  readonly scenario: string;
  /** Names the deployment that is tested: asking again with the same one starts nothing. */
  readonly id: string;
  readonly result: GateResult;
  readonly reasons: readonly string[];
  readonly run: string | null;
  /** Tests before it, the one that plays included; 0 once it plays. */
  readonly ahead: number;
}
export type TestView = Readonly<TestState>;

interface Entry {
  readonly scenario: string;
  readonly id: string;
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
 * Tests one after the other, because two at one time would measure each other. A test is named by its scenario and an
 * id; asked for again it is the same test, until its end is forgotten.
 */
export class TestQueue {
  readonly #play: PlayTest;
  readonly #clock: Clock;
  readonly #limits: QueueLimits;
  /** In the order in which they were asked for. */
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();
  #playing: Promise<void> | null = null;

  constructor(play: PlayTest, clock: Clock, limits: QueueLimits) {
    this.#play = play;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** The test of that name, which is started unless it is known. Null where too many wait already. */
  ask(scenario: string, id: string): TestView | null {
    const known = this.look(scenario, id);
    if (known !== null) return known;
    const open = [...this.#entries.values()].filter(({ end }) => end === null);
    if (this.#stop.signal.aborted || open.length > this.#limits.waiting) return null;
    this.#entries.set(keyOf(scenario, id), { scenario, id, end: null, endedNs: 0, waiters: new Set() });
    this.#playing ??= this.#playAll();
    return this.look(scenario, id);
  }

  /** The test of that name; null where nobody asked for it, or its end is forgotten. */
  look(scenario: string, id: string): TestView | null {
    this.#forget();
    const entry = this.#entries.get(keyOf(scenario, id));
    return entry === undefined ? null : this.#viewOf(entry);
  }

  /** All that are known, the oldest first. */
  list(): TestView[] {
    this.#forget();
    return [...this.#entries.values()].map((entry) => this.#viewOf(entry));
  }

  /** Resolves when the test ends, or the signal aborts. */
  async ended(scenario: string, id: string, signal: AbortSignal): Promise<void> {
    const entry = this.#entries.get(keyOf(scenario, id));
    if (entry === undefined || entry.end !== null || signal.aborted) return;
    await new Promise<void>((resolve) => {
      entry.waiters.add(resolve);
      const leave = () => {
        entry.waiters.delete(resolve);
        resolve();
      };
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  /** Ends the test that plays, and those that wait. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#playing;
  }

  async #playAll(): Promise<void> {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const stopped = this.#stop.signal.aborted;
      next.end = stopped ? STOPPED : await this.#play(next.scenario, this.#stop.signal);
      next.endedNs = this.#clock.nowNs();
      for (const wake of next.waiters) wake();
      next.waiters.clear();
    }
    this.#playing = null;
  }

  #next(): Entry | undefined {
    return [...this.#entries.values()].find(({ end }) => end === null);
  }

  #viewOf({ scenario, id, end }: Entry): TestView {
    const open = [...this.#entries.values()].filter((each) => each.end === null);
    const ahead = open.findIndex((each) => each.scenario === scenario && each.id === id);
    if (end !== null) return { scenario, id, ...end, ahead: 0 };
    return { scenario, id, result: 'RUNNING', reasons: [], run: null, ahead };
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

const STOPPED: TestEnd = { result: 'INCONCLUSIVE', reasons: ['the gate was stopped'], run: null };

function keyOf(scenario: string, id: string): string {
  return `${scenario}\n${id}`;
}
