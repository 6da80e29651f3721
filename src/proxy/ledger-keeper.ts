import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Loss } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';
import type { LifeAccount } from './ledger-cell.ts';
import { LEDGER_FILE, LedgerFile } from './ledger-file.ts';

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
  #file: LedgerFile | null = null;
  #retryNs = 0;
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
  async captureReady(directory: string): Promise<void> {
    // One that was removed and made again holds no ledger, whatever we still write to.
    if (this.#directory !== directory || !existsSync(join(directory, LEDGER_FILE))) this.#close();
    this.#directory = directory;
    this.#retryNs = 0;
    await this.beat();
  }

  /** To be called every second, and whenever something happened that must not be forgotten. */
  async beat(): Promise<void> {
    await this.#guarded(async () => {
      const file = this.#file ?? (await this.#open());
      if (file) await this.#write(file, 'open');
    });
  }

  /** The last word of a recording that ends in good order. */
  async end(): Promise<void> {
    await this.#guarded(async () => {
      if (this.#file) await this.#write(this.#file, 'ended');
    });
    this.#close();
  }

  /** What a recorder was at work on when it died; null where nobody knows. */
  mark(): { slot: number; connection: number } | null {
    try {
      return this.#file?.readMark() ?? null;
    } catch (error) {
      this.#complain(error);
      return null;
    }
  }

  async #open(): Promise<LedgerFile | null> {
    if (this.#directory === null || this.#clock.nowNs() < this.#retryNs) return null;
    const file = LedgerFile.open(this.#directory);
    this.#file = file;
    const untold = file.untold(this.#life, this.#clock.epochUs());
    if (untold.length > 0) {
      this.#logger.warn(
        { losses: untold },
        'an earlier recording was killed; what it had not told is noted now',
      );
    }
    this.#onTakeOver(untold);
    // First it stands in our account, then theirs is settled: killed in between, it is told twice, never not.
    await file.write(this.#account('open'), { whatever: true });
    file.settleOthers(this.#life);
    return file;
  }

  async #write(file: LedgerFile, state: LifeAccount['state']): Promise<void> {
    const ours = await file.write(this.#account(state), { whatever: state === 'ended' });
    if (!ours) {
      // Another recording took over while ours had no recorder. When ours has one again, it is a new life.
      this.#life = newLife();
      this.#close();
      this.#directory = null;
    }
    this.#failing = false;
  }

  #account(state: LifeAccount['state']): Omit<LifeAccount, 'number'> {
    return { ...this.#accountOf(), life: this.#life, state };
  }

  async #guarded(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#complain(error);
    }
  }

  #complain(error: unknown): void {
    this.#retryNs = this.#clock.nowNs() + RETRY_MS * 1e6;
    this.#close();
    if (!this.#failing) {
      this.#logger.error(
        { file: LEDGER_FILE, reason: reasonOf(error) },
        'the ledger cannot be written; losses are counted, and forgotten if all processes are killed',
      );
    }
    this.#failing = true;
  }

  #close(): void {
    this.#file?.close();
    this.#file = null;
  }
}

function newLife(): string {
  return randomBytes(8).toString('hex');
}
