import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Loss } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import { LEDGER_FILE, type LifeAccount } from '../core/ledger-cell.ts';
import type { Logger } from '../core/ports.ts';
import { LedgerFile } from './ledger-file.ts';
import type { CommittedByLife } from './messages.ts';

/** After a failure the ledger is left alone for this long. */
const RETRY_MS = 10_000;

/** What a recording counts, without what its ledger adds. */
export type Account = Omit<LifeAccount, 'life' | 'number' | 'state'>;

/** Keeps the ledger of the capture that is being written. A disk that refuses it is one line in the log. */
export class LedgerKeeper {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #accountOf: () => Account;
  /** Takes what earlier lives left untold, before the account is written that holds it. */
  readonly #onTakeOver: (losses: readonly Loss[]) => void;
  #life = newLife();
  #directory: string | null = null;
  #committed: readonly CommittedByLife[] = [];
  #file: LedgerFile | null = null;
  #retryNs = 0;
  /** How much of our own is under way or waits, and the last of it. */
  #busy = 0;
  #last: Promise<void> = Promise.resolve();
  #failing = false;

  constructor(deps: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly accountOf: () => Account;
    readonly onTakeOver: (losses: readonly Loss[]) => void;
  }) {
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#accountOf = deps.accountOf;
    this.#onTakeOver = deps.onTakeOver;
  }

  /** Our recorder holds the lock of this capture: whoever wrote here before is gone. */
  captureReady(directory: string, committed: readonly CommittedByLife[]): Promise<void> {
    return this.#guarded(async () => {
      // One that was removed and made again holds no ledger, whatever we still write to.
      if (this.#directory !== directory || !existsSync(join(directory, LEDGER_FILE))) await this.#close();
      this.#directory = directory;
      this.#committed = committed;
      this.#retryNs = 0;
      await this.#beat();
    });
  }

  /** What this recording goes by. */
  get life(): string {
    return this.#life;
  }

  /** To be called every second. Left out while another is under way: the next one says all it would have said. */
  beat(): Promise<void> {
    return this.#busy ? Promise.resolve() : this.#guarded(() => this.#beat());
  }

  /** Whenever something happened that must not be forgotten: written whatever is under way, and done when it is. */
  note(): Promise<void> {
    return this.#guarded(() => this.#beat());
  }

  /** In between, while traffic comes: it shortens what nobody knows of a recording that is killed. */
  touch(): void {
    if (!this.#busy && this.#file) void this.#guarded(() => this.#beat({ synced: false }));
  }

  /** The last word of a recording that ends in good order. */
  end(): Promise<void> {
    return this.#guarded(async () => {
      if (this.#file) await this.#write(this.#file, 'ended');
      await this.#close();
      this.#directory = null;
    });
  }

  /** What a recorder was at work on when it died; null where nobody knows. */
  async mark(): Promise<{ slot: number; connection: number } | null> {
    let mark: { slot: number; connection: number } | null = null;
    await this.#guarded(async () => {
      mark = (await this.#file?.readMark()) ?? null;
    });
    return mark;
  }

  async #beat(how?: { readonly synced: boolean }): Promise<void> {
    if (this.#file) await this.#write(this.#file, 'open', how);
    else if (this.#directory !== null && this.#clock.nowNs() >= this.#retryNs)
      await this.#open(this.#directory);
  }

  async #open(directory: string): Promise<void> {
    const file = await LedgerFile.open(directory);
    this.#file = file;
    const foundUs = this.#clock.epochUs();
    const untold = file.untold(this.#life, foundUs, this.#committed);
    if (untold.length > 0) {
      this.#logger.warn(
        { losses: untold },
        'an earlier recording left losses untold; they are noted in the capture now',
      );
    }
    this.#onTakeOver(untold);
    // First it stands in our account, then theirs is settled: killed in between, it is told twice, never not.
    await this.#write(file, 'open');
    await file.settleOthers(this.#life, foundUs);
  }

  async #write(
    file: LedgerFile,
    state: LifeAccount['state'],
    how?: { readonly synced: boolean },
  ): Promise<void> {
    const ours = await file.write(this.#account(state), how);
    this.#failing = false;
    if (ours) return;
    // Another recording took over while ours had no recorder. When ours has one again, it is a new life.
    this.#life = newLife();
    this.#directory = null;
    await this.#close();
  }

  #account(state: LifeAccount['state']): Omit<LifeAccount, 'number'> {
    return { ...this.#accountOf(), life: this.#life, state };
  }

  /** One after the other; a disk that hangs must not hold up more than what waits for it. */
  #guarded(act: () => Promise<void>): Promise<void> {
    this.#busy += 1;
    this.#last = this.#last
      .then(act)
      .catch((error: unknown) => this.#complain(error))
      .finally(() => {
        this.#busy -= 1;
      });
    return this.#last;
  }

  async #complain(error: unknown): Promise<void> {
    this.#retryNs = this.#clock.nowNs() + RETRY_MS * 1e6;
    if (!this.#failing) {
      this.#logger.error(
        { file: LEDGER_FILE, reason: reasonOf(error) },
        'the ledger cannot be written; losses are counted, and forgotten if all processes are killed',
      );
    }
    this.#failing = true;
    // Its descriptor is given back whatever state it is in; the cause has been said.
    await this.#close().catch(() => undefined);
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }
}

function newLife(): string {
  return randomBytes(8).toString('hex');
}
