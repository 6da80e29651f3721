import type { Duplex } from 'node:stream';
import { NO_PROGRESS, type Progress } from '../core/account.ts';
import type { LossReason } from '../core/accounting.ts';
import type { RecorderDeps } from './fed-connection.ts';
import { PipeFeed } from './pipe-feed.ts';

/**
 * The other end of the pipe: assembles exchanges, hands them to the sink, and acknowledges after the commit.
 * Settlements wait for the commit in the order they came about, so that those of one connection stay contiguous
 * even where only some of them carry an exchange.
 */
export class Recorder {
  readonly #deps: RecorderDeps;
  #feed: PipeFeed | null = null;
  #progress: Progress;
  #shedding: LossReason | null = null;

  /** @param progress what recorders before this one have committed of the same recording */
  constructor(deps: RecorderDeps, progress: Progress = NO_PROGRESS) {
    this.#deps = deps;
    this.#progress = progress;
  }

  /** Why the last commit failed; null when it did not. */
  get shedding(): LossReason | null {
    return this.#shedding;
  }

  /** Reads the pipe until it ends, which is the end of the proxy: what is still open then is lost with it. */
  attach(pipe: Duplex): void {
    const feed = new PipeFeed(pipe, this.#deps, () => this.commitIfDue());
    this.#feed = feed;
    pipe.on('close', () => {
      if (this.#feed !== feed) return;
      feed.abandon('crash_gap');
      this.commit();
      this.#feed = null;
    });
  }

  /** To be called every few milliseconds as well: an exchange must not wait for the next one. */
  commitIfDue(): void {
    if (this.#deps.sink.due(this.#deps.clock.nowNs()) || this.#feed?.wantsCommit()) this.commit();
  }

  commit(): void {
    const recorded = this.#feed?.recorded ?? NO_PROGRESS;
    const progress = {
      bytes: this.#progress.bytes + recorded.bytes,
      turns: this.#progress.turns + recorded.turns,
      exchanges: this.#progress.exchanges + recorded.exchanges,
    };
    const { reason } = this.#deps.sink.commit(progress);
    if (reason === null) this.#progress = progress;
    this.#shedding = reason;
    this.#feed?.acknowledge(reason);
  }

  /** Commits what is left and closes the sink. What is still open is lost for that reason. */
  close(because: LossReason = 'crash_gap'): void {
    this.#feed?.abandon(because);
    this.commit();
    this.#feed = null;
    this.#deps.sink.close();
  }
}
