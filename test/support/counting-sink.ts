import type { Loss, Omission, ProtocolUse } from '../../src/core/accounting.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import type { CommitResult, CommittingSink } from '../../src/core/ports.ts';

/** A sink that keeps what it is told, and always has room. */
export class CountingSink implements CommittingSink {
  readonly exchanges: Exchange[] = [];
  readonly losses: Loss[] = [];
  readonly omissions: Omission[] = [];
  readonly protocolUses: ProtocolUse[] = [];
  #uncommitted = 0;

  /** Whether exchanges can be stored. */
  encodes = true;

  append(exchange: Exchange): boolean {
    if (!this.encodes) return false;
    this.exchanges.push(exchange);
    this.#uncommitted += 1;
    return true;
  }

  addLoss(loss: Loss): void {
    this.losses.push(loss);
  }

  addOmission(omission: Omission): void {
    this.omissions.push(omission);
  }

  addProtocolUse(use: ProtocolUse): void {
    this.protocolUses.push(use);
  }

  addAnchor(): void {}

  due(): boolean {
    return this.#uncommitted > 0;
  }

  commit(): CommitResult {
    const committed = this.#uncommitted;
    this.#uncommitted = 0;
    return { committed, lost: 0, reason: null };
  }

  close(): void {}
}

/** Amounts of all records together. */
export function sumOf(amounts: readonly { readonly exchanges: number; readonly bytes: number }[]): {
  exchanges: number;
  bytes: number;
} {
  return {
    exchanges: amounts.reduce((sum, { exchanges }) => sum + exchanges, 0),
    bytes: amounts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}
