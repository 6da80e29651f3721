import type { SenderHealth } from '../../../src/replay/engine/health.ts';
import { LoopTime } from '../../../src/replay/engine/loop-time.ts';
import { type PreparedRequest, packBatch, type SendResult } from '../../../src/replay/engine/messages.ts';
import { Pacer, WAKE_LEAD_NS } from '../../../src/replay/engine/pacer.ts';
import {
  SENDER_TICK_MS,
  Sender,
  type SenderDeps,
  type SenderOptions,
} from '../../../src/replay/engine/sender.ts';
import {
  InFlight,
  type InFlightLimits,
  type SenderSignals,
} from '../../../src/replay/engine/shared-memory.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { type ScriptedAnswer, ScriptedTransport } from './scripted-transport.ts';

export const MS = 1_000_000;
export const TICK_NS = SENDER_TICK_MS * MS;
const TURN_NS = 2_000;
export const START_NS = 5_000 * MS;

/** The heartbeat of a loop that is always in time. */
export const NEVER_PAUSED = {
  opens: () => undefined,
  closes: () => undefined,
  waitedNs: () => 0,
  pausedNs: () => 0,
};

/** A sender on a manual clock, with an event loop whose turns take 2 µs and a pacer that wakes it. */
export class Stage implements SenderSignals {
  readonly clock = new ManualClock(START_NS - 100 * MS);
  readonly results: SendResult[] = [];
  readonly transport: ScriptedTransport;
  readonly sender: Sender;
  health: SenderHealth | null = null;
  awake = false;
  dispatched = 0;
  readonly held = InFlight.create({ maxRequests: 10_000, maxBodyBytes: 2 ** 30 });
  turns = 0;
  readonly #turns: (() => void)[] = [];
  #frozen = false;

  constructor(
    script: (index: number) => ScriptedAnswer,
    options: Partial<SenderOptions> = {},
    limits: Partial<InFlightLimits> = {},
    deps: Partial<SenderDeps> = {},
  ) {
    this.transport = new ScriptedTransport(this.clock, ({ index }) => script(index));
    const afterMs = (callback: () => void, ms: number): void =>
      this.clock.sleepUntil(this.clock.nowNs() + ms * MS, callback);
    this.sender = new Sender(
      {
        startNs: START_NS,
        totalTimeoutMs: 60_000,
        drainDeadlineMs: 30_000,
        catchUpGapNs: MS,
        ...options,
      },
      {
        clock: this.clock,
        loopTime: new LoopTime(this.clock),
        heartbeat: NEVER_PAUSED,
        transport: this.transport,
        signals: this,
        held: this.held,
        inFlight: InFlight.create({ maxRequests: 10_000, maxBodyBytes: 2 ** 30, ...limits }),
        afterTurn: (callback) => this.#turns.push(callback),
        afterMs,
        afterHearing: (callback, ms) => {
          let isWanted = true;
          afterMs(() => {
            if (isWanted) callback();
          }, ms);
          return () => {
            isWanted = false;
          };
        },
        loopIdleNs: () => 0,
        onResults: (results) => this.results.push(...results),
        onOver: (health) => {
          this.health = health;
        },
        ...deps,
      },
    );
    this.#tickEvery(TICK_NS);
  }

  setSenderAwake(awake: boolean): void {
    this.awake = awake;
  }

  setDispatched(count: number): void {
    this.dispatched = count;
  }

  /** Passes requests to the sender, and makes the pacer wake it before each. */
  hand(requests: readonly PreparedRequest[]): void {
    this.sender.accept(packBatch(requests));
    const dues = requests.map(({ intendedOffsetNs }) => START_NS + intendedOffsetNs);
    const pacer = new Pacer({ peekNs: () => dues[0] ?? null, shift: () => dues.shift() }, null);
    const pace = (): void => {
      const { due, waitNs } = pacer.next(this.clock.nowNs() + WAKE_LEAD_NS);
      if (due > 0 && !this.awake) this.sender.wake();
      if (Number.isFinite(waitNs)) this.clock.sleepUntil(this.clock.nowNs() + waitNs, pace);
    };
    pace();
  }

  /** Passes follow-ups to the sender. */
  follow(requests: readonly PreparedRequest[]): void {
    for (const { body } of requests) this.held.enter(body?.length ?? 0);
    this.sender.accept(packBatch(requests), 'followUps');
  }

  /** Moves the time to an offset of the run, and turns the loop whenever a turn was requested. */
  playTo(offsetNs: number, stepNs = 50_000): void {
    const untilNs = START_NS + offsetNs;
    while (this.clock.nowNs() < untilNs) {
      const turn = this.#turns.shift();
      if (turn) {
        this.turns++;
        this.clock.advance(TURN_NS);
        turn();
      } else {
        this.clock.advance(Math.min(stepNs, untilNs - this.clock.nowNs()));
      }
    }
  }

  /** Simulates a frozen process: time passes and nothing runs; then its overdue timers run. */
  freeze(ns: number): void {
    this.#frozen = true;
    this.clock.advance(ns);
    this.#frozen = false;
    this.sender.tick();
  }

  #tickEvery(ns: number): void {
    this.clock.sleepUntil(this.clock.nowNs() + ns, () => {
      if (this.health === null && !this.#frozen) this.sender.tick();
      this.#tickEvery(ns);
    });
  }
}

export const atOnce = (): ScriptedAnswer => ({ afterNs: 50_000 });
