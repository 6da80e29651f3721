import type { Clock } from '../../core/clock.ts';
import { LIMITS } from '../../core/limits.ts';
import type { SeededRandom } from '../../core/random.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { isToxicOf, type Toxic, type ToxicAttributes, type ToxicType } from '../../documents/faults.ts';
import { delayDraw } from './toxics.ts';

/** Under a bandwidth limit, a large piece is passed on in parts that take this long. */
const PACED_PART_MS = 100;
/** A timer may fire this much too early. */
const TIMER_SLACK_MS = 0.5;

/** Receives the bytes of one direction of a connection. */
export interface ByteSink {
  push(bytes: Buffer): void;
  end(): void;
}

/** What a stage may do to its connection, with its clock, random generator and counter. */
export interface StageHost {
  readonly clock: Clock;
  readonly random: SeededRandom;
  injected(): void;
  /** The next end that is passed on ends the connection in both directions. */
  closing(): void;
  reset(): void;
  /** Held bytes were passed on or dropped. */
  released(): void;
}

/** One fault in one direction of one connection. Without a fault there is no stage, and bytes pass at once. */
export abstract class Stage implements ByteSink {
  protected readonly host: StageHost;
  /** The current receiver of its bytes. */
  next: ByteSink;
  #timer: NodeJS.Timeout | null = null;

  constructor(host: StageHost, next: ByteSink) {
    this.host = host;
    this.next = next;
  }

  get heldBytes(): number {
    return 0;
  }

  abstract push(bytes: Buffer): void;

  end(): void {
    this.next.end();
  }

  /** The fault is removed, or replaced by itself with other attributes. Held bytes are passed on at once. */
  remove(_replaced: boolean): void {
    this.stop();
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Ends the connection after the bytes that were already passed on. */
  protected close(): void {
    this.host.closing();
    this.next.end();
  }

  /** Acts once after this time. An earlier wait is cancelled. */
  protected after(ms: number, act: () => void): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      act();
    }, ms);
  }
}

/** Holds pieces until the instant at which each may be passed on. An end keeps its place behind them. */
abstract class TimedStage<Type extends ToxicType> extends Stage {
  protected readonly terms: ToxicAttributes<Type>;
  /** No later piece may be passed on before this, nor may the end. */
  protected freeNs = 0;
  readonly #queue: { readonly bytes: Buffer | null; readonly dueNs: number }[] = [];
  #held = 0;

  constructor(host: StageHost, next: ByteSink, terms: ToxicAttributes<Type>) {
    super(host, next);
    this.terms = terms;
  }

  override get heldBytes(): number {
    return this.#held;
  }

  override end(): void {
    this.hold(null, this.endDueNs());
  }

  override remove(replaced: boolean): void {
    super.remove(replaced);
    for (const { bytes } of this.#queue.splice(0)) this.#pass(bytes);
    this.#held = 0;
    this.host.released();
  }

  protected endDueNs(): number {
    return this.freeNs;
  }

  /** @param bytes null for the end */
  protected hold(bytes: Buffer | null, dueNs: number): void {
    this.#queue.push({ bytes, dueNs });
    this.#held += heldBytesOf(bytes);
    if (this.#queue.length === 1) this.#release();
  }

  #release(): void {
    for (;;) {
      const [first] = this.#queue;
      if (first === undefined) return;
      const waitMs = (first.dueNs - this.host.clock.nowNs()) / NS_PER_MS;
      if (waitMs > TIMER_SLACK_MS) {
        this.after(Math.round(waitMs), () => this.#release());
        return;
      }
      this.#queue.shift();
      this.#held -= heldBytesOf(first.bytes);
      this.#pass(first.bytes);
      this.host.released();
    }
  }

  #pass(bytes: Buffer | null): void {
    if (bytes === null) this.next.end();
    else this.next.push(bytes);
  }
}

/** Memory of a waiting piece: even a slice of one byte takes far more than that. */
function heldBytesOf(bytes: Buffer | null): number {
  return LIMITS.heldPieceBytes + (bytes?.length ?? 0);
}

/** Passes each piece on after its own delay, and never before the previous piece. */
class LatencyStage extends TimedStage<'latency'> {
  push(bytes: Buffer): void {
    const delayMs = delayDraw({ baseMs: this.terms.latency, ...this.terms }, this.host.random);
    this.freeNs = Math.max(this.freeNs, this.host.clock.nowNs() + delayMs * NS_PER_MS);
    this.host.injected();
    this.hold(bytes, this.freeNs);
  }
}

class BandwidthStage extends TimedStage<'bandwidth'> {
  push(bytes: Buffer): void {
    this.host.injected();
    const bytesPerMs = this.terms.rate;
    const part = bytesPerMs * PACED_PART_MS;
    for (let at = 0; at < bytes.length; at += part) {
      const piece = bytes.subarray(at, at + part);
      const startNs = Math.max(this.freeNs, this.host.clock.nowNs());
      this.freeNs = startNs + (piece.length / bytesPerMs) * NS_PER_MS;
      this.hold(piece, this.freeNs);
    }
  }
}

class SlicerStage extends TimedStage<'slicer'> {
  push(bytes: Buffer): void {
    this.host.injected();
    const { average_size: average, size_variation: variation, delay } = this.terms;
    for (let at = 0; at < bytes.length; ) {
      const drawn = variation === 0 ? 0 : this.host.random.below(2 * variation + 1) - variation;
      const size = Math.max(1, average + drawn);
      this.freeNs = Math.max(this.freeNs, this.host.clock.nowNs());
      this.hold(bytes.subarray(at, at + size), this.freeNs);
      this.freeNs += delay * 1e3;
      at += size;
    }
  }
}

class SlowCloseStage extends TimedStage<'slow_close'> {
  push(bytes: Buffer): void {
    this.next.push(bytes);
  }

  protected override endDueNs(): number {
    this.host.injected();
    return this.host.clock.nowNs() + this.terms.delay * NS_PER_MS;
  }
}

/** Ends this direction on its own. Later bytes are dropped. */
class HalfCloseStage extends Stage {
  #ended = false;

  constructor(host: StageHost, next: ByteSink, { delay }: ToxicAttributes<'half_close'>) {
    super(host, next);
    this.after(delay, () => {
      if (!this.#ended) host.injected();
      this.end();
    });
  }

  push(bytes: Buffer): void {
    if (!this.#ended) this.next.push(bytes);
  }

  override end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.next.end();
  }
}

/**
 * Drops all bytes. It closes the connection after a time without data, or when it is removed, because bytes are missing
 * by then.
 */
class TimeoutStage extends Stage {
  readonly #timeoutMs: number;

  constructor(host: StageHost, next: ByteSink, { timeout }: ToxicAttributes<'timeout'>) {
    super(host, next);
    this.#timeoutMs = timeout;
    this.#wait();
  }

  push(): void {
    this.host.injected();
    this.#wait();
  }

  override remove(replaced: boolean): void {
    super.remove(replaced);
    if (!replaced) this.close();
  }

  #wait(): void {
    if (this.#timeoutMs > 0) this.after(this.#timeoutMs, () => this.close());
  }
}

class ResetStage extends Stage {
  readonly #timeoutMs: number;
  #begun = false;

  constructor(host: StageHost, next: ByteSink, { timeout }: ToxicAttributes<'reset_peer'>) {
    super(host, next);
    this.#timeoutMs = timeout;
  }

  push(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.host.injected();
    this.after(this.#timeoutMs, () => this.host.reset());
  }
}

class LimitDataStage extends Stage {
  #leftBytes: number;
  #closed = false;

  constructor(host: StageHost, next: ByteSink, { bytes }: ToxicAttributes<'limit_data'>) {
    super(host, next);
    this.#leftBytes = bytes;
  }

  push(bytes: Buffer): void {
    if (this.#closed) return;
    const passed = bytes.subarray(0, this.#leftBytes);
    this.#leftBytes -= passed.length;
    if (passed.length > 0) this.next.push(passed);
    if (this.#leftBytes > 0) return;
    this.#closed = true;
    this.host.injected();
    this.close();
  }
}

/** The stage of a fault on the stream; null for a fault on requests, which has no stage. */
export function stageOf(toxic: Toxic, host: StageHost, next: ByteSink): Stage | null {
  if (isToxicOf(toxic, 'latency')) return new LatencyStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'bandwidth')) return new BandwidthStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'slicer')) return new SlicerStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'slow_close')) return new SlowCloseStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'half_close')) return new HalfCloseStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'timeout')) return new TimeoutStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'reset_peer')) return new ResetStage(host, next, toxic.attributes);
  if (isToxicOf(toxic, 'limit_data')) return new LimitDataStage(host, next, toxic.attributes);
  return null;
}
