import type { Loss } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { SUPERVISION } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import { HandOver } from './hand-over.ts';
import { type ForwardersReading, LedgerHistory } from './ledger-history.ts';
import { type Account, LedgerKeeper } from './ledger-keeper.ts';
import type { CommittedByLife, FeedEnd, ForwarderReading, RecorderBeat } from './messages.ts';
import { TurnedAwayNotice } from './turned-away-notice.ts';
import { sumOfLosses, UntoldLosses } from './untold-losses.ts';

/**
 * The account of a whole recording: what its forwarders counted, and which of the losses the capture has not been
 * told of yet. Every second, at every turn and while traffic comes four times a second it goes into the ledger of the
 * capture, so that it outlives all processes.
 */
export class RecordingAccount {
  readonly #clock: Clock;
  readonly #startedUs: number;
  readonly #forwarders = new LedgerHistory();
  readonly #untold = new UntoldLosses();
  readonly #handOver: HandOver;
  readonly #ledger: LedgerKeeper;
  readonly #turnedAway: TurnedAwayNotice;
  /** Losses that the running recorder knows of and has not written. */
  #unwritten: readonly Loss[] = [];
  /** How much was counted by the last writing between two beats, and when that was. */
  #writtenBytes = 0;
  #writtenNs = 0;
  #complete = false;
  #onResolved: () => void = () => undefined;

  constructor(deps: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = deps.clock;
    this.#startedUs = deps.clock.epochUs();
    this.#handOver = new HandOver(deps.clock);
    this.#turnedAway = new TurnedAwayNotice(deps);
    this.#ledger = new LedgerKeeper({
      ...deps,
      accountOf: () => this.#read(),
      onTakeOver: (losses) => this.#untold.add(losses),
    });
  }

  /** What this recording goes by in its ledger. */
  get life(): string {
    return this.#ledger.life;
  }

  get startedUs(): number {
    return this.#startedUs;
  }

  /** What the forwarders counted, as of their last beats. */
  get reading(): ForwardersReading {
    return this.#forwarders.read();
  }

  forwarderSaid(slot: number, reading: ForwarderReading): void {
    this.#forwarders.update(slot, reading);
    this.#touch();
  }

  forwarderEnded(slot: number): void {
    const last = this.#forwarders.forwarderEnded(slot);
    if (last) {
      const { handed, untold, noted, ledger } = last;
      const words = { handed, untold, noted, pending: ledger.pending };
      this.#untold.add(this.#handOver.forwarderEnded(slot, words));
    }
    void this.#ledger.note();
  }

  /** A forwarder and the running recorder have a pipe between them. Answers its number. */
  joined(slot: number): number {
    return this.#handOver.joined(slot);
  }

  /** The recorder came to the end of a pipe, the one of that ordinal in its place. */
  feedEnded({ slot, ordinal, heard }: FeedEnd): void {
    this.#untold.add(this.#handOver.feedEnded(slot, ordinal, heard));
    this.#onResolved();
  }

  recorderSaid(beat: RecorderBeat): void {
    this.#unwritten = beat.unwritten;
    this.#untold.heard(beat.heardLosses);
  }

  /**
   * @param unwritten the losses that the capture does not hold, of one that ended as it was told to; null: of what
   * it was told, all that it had not written is owed again
   */
  recorderGone(unwritten: readonly Loss[] | null): void {
    if (unwritten) this.#untold.recorderStopped(unwritten);
    else this.#untold.recorderEnded(this.#unwritten);
    this.#untold.add(this.#handOver.recorderEnded());
    this.#onResolved();
    this.#unwritten = [];
    void this.#ledger.note();
  }

  /** Waits, no longer than that, until it is known what the recorder heard of forwarders that ended. */
  resolved(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onResolved = () => {
        if (this.#handOver.unresolved.length > 0) return;
        clearTimeout(timer);
        resolve();
      };
      this.#onResolved();
    });
  }

  /** There are losses that no recorder is known to have heard of. */
  get owes(): boolean {
    return this.#untold.all.length > 0;
  }

  /** What to tell the running recorder now; null when there is nothing. */
  tell(): { readonly number: number; readonly losses: readonly Loss[] } | null {
    return this.#untold.tell();
  }

  /** Our recorder holds the lock of this capture. */
  captureReady(directory: string, committed: readonly CommittedByLife[] = []): Promise<void> {
    return this.#ledger.captureReady(directory, committed);
  }

  beat(): Promise<void> {
    this.#turnedAway.look(this.reading.turnedAway);
    return this.#ledger.beat();
  }

  /**
   * All forwarders have ended. To be written before the recorder lets go of the capture: whoever records there next
   * would take us for killed.
   */
  complete(): Promise<void> {
    this.#complete = true;
    return this.#ledger.note();
  }

  /** The recording ends in good order. */
  end(): Promise<void> {
    return this.#ledger.end();
  }

  /** The forwarder's place and the connection that a watchful recorder was at work on when it died. */
  mark(): Promise<{ readonly slot: number; readonly connection: number } | null> {
    return this.#ledger.mark();
  }

  /** What was counted since the last writing is what nobody would know of, if all were killed now. */
  #touch(): void {
    const { seen, pending } = this.reading.ledger;
    const settled = seen.bytes - pending.bytes;
    const nowNs = this.#clock.nowNs();
    if (seen.bytes + settled === this.#writtenBytes) return;
    if (nowNs - this.#writtenNs < SUPERVISION.ledgerMs * 1e6) return;
    this.#writtenBytes = seen.bytes + settled;
    this.#writtenNs = nowNs;
    this.#ledger.touch();
  }

  #read(): Account {
    const { seen, recorded, lost, omitted, pending, exchanges } = this.reading.ledger;
    const current = [...this.#forwarders.current()];
    const forwarders = current.flatMap(({ untold }) => untold);
    const atUs = this.#clock.epochUs();
    // Should all of us be gone before the recorder has said what it heard, the next recording tells of it.
    const { unresolved } = this.#handOver;
    const untold = sumOfLosses(forwarders, this.#untold.all, this.#unwritten, unresolved);
    return {
      startedUs: this.#startedUs,
      atUs,
      knownUntilUs: current.reduce((least, reading) => Math.min(least, reading.atUs), atUs),
      seen,
      recorded,
      lost,
      omitted,
      pending,
      exchanges,
      untold,
      ...(this.#complete ? { complete: true } : {}),
    };
  }
}
