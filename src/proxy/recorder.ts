import type { Duplex } from 'node:stream';
import type { Loss, LossReason } from '../core/accounting.ts';
import type { RecorderDeps } from './fed-connection.ts';
import type { Heard } from './hand-over.ts';
import { PipeFeed } from './pipe-feed.ts';

/** Told, when a pipe has come to its end, how much came through it. */
type OnFeedEnd = (heard: Heard) => void;

/**
 * The other end of the pipes: assembles exchanges, hands them to the sink, and acknowledges after the commit.
 * Settlements wait for the commit in the order they came about, so that those of one connection stay contiguous
 * even where only some of them carry an exchange.
 */
export class Recorder {
  readonly #deps: RecorderDeps;
  readonly #feeds = new Map<PipeFeed, OnFeedEnd>();
  /** Feeds so far; each numbers its connections in a range of its own. */
  #feedCount = 0;
  #abandoned = 0;
  #shedding: LossReason | null = null;

  constructor(deps: RecorderDeps) {
    this.#deps = deps;
  }

  /** Connections that were open when their forwarder was gone: it did not end in good order. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** Why the last commit failed; null when it did not. */
  get shedding(): LossReason | null {
    return this.#shedding;
  }

  /** Reads the pipe of the forwarder in a place until it ends. */
  attach(pipe: Duplex, slot = 0, onEnd: OnFeedEnd = () => undefined): void {
    const place = { slot, ordinal: this.#feedCount };
    this.#feedCount += 1;
    const feed = new PipeFeed(pipe, this.#deps, place, () => this.commitIfDue());
    this.#feeds.set(feed, onEnd);
    pipe.on('close', () => {
      if (!this.#feeds.has(feed)) return;
      this.#abandoned += feed.abandon('crash_gap');
      this.#commit();
      this.#feeds.delete(feed);
      onEnd(feed.heard);
    });
  }

  /** To be called every few milliseconds as well: an exchange must not wait for the next one. */
  commitIfDue(): void {
    const wanted =
      this.#deps.sink.due(this.#deps.clock.nowNs()) ||
      [...this.#feeds.keys()].some((feed) => feed.wantsCommit());
    if (wanted) this.#commit();
  }

  /** Notes losses that nobody could note when they came about, and commits them. */
  noteLosses(losses: readonly Loss[]): void {
    for (const loss of losses) this.#deps.sink.addLoss(loss);
    if (losses.length > 0) this.#commit();
  }

  /** Commits what is left and closes the sink. What is still open is lost for that reason. */
  close(because: LossReason = 'crash_gap'): void {
    for (const feed of this.#feeds.keys()) feed.abandon(because);
    this.#commit();
    for (const [feed, onEnd] of this.#feeds) onEnd(feed.heard);
    this.#feeds.clear();
    this.#deps.sink.close();
  }

  #commit(): void {
    const { reason } = this.#deps.sink.commit();
    this.#shedding = reason;
    for (const feed of this.#feeds.keys()) feed.acknowledge(reason);
  }
}
