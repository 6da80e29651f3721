import type { ProtocolUse } from '../../src/core/accounting.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import type { CommitResult, CommittingSink } from '../../src/core/ports.ts';

/** A sink that keeps everything it gets, and always has room. */
export class CountingSink implements CommittingSink {
  readonly exchanges: Exchange[] = [];
  readonly protocolUses: ProtocolUse[] = [];
  #uncommitted = 0;

  /** Whether a commit refuses an exchange. */
  refuses: (exchange: Exchange) => boolean = () => false;

  /** Whether exchanges can be stored. */
  encodes = true;

  append(exchange: Exchange): boolean {
    if (!this.encodes) return false;
    this.exchanges.push(exchange);
    this.#uncommitted += 1;
    return true;
  }

  addProtocolUse(use: ProtocolUse): void {
    this.protocolUses.push(use);
  }

  due(): boolean {
    return this.#uncommitted > 0;
  }

  commit(): CommitResult {
    const lost = this.exchanges.splice(this.exchanges.length - this.#uncommitted).flatMap((exchange) => {
      if (this.refuses(exchange)) return [{ exchange, reason: 'encode_failed' as const }];
      this.exchanges.push(exchange);
      return [];
    });
    const committed = this.#uncommitted - lost.length;
    this.#uncommitted = 0;
    return { committed, lost, reason: lost[0]?.reason ?? null };
  }

  close(): void {}
}
