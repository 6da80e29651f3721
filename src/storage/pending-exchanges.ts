import type { Loss, LossReason } from '../core/accounting.ts';
import type { Exchange, Message } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';

/** Exchanges without payload fill no block; so many make a commit due. */
const EXCHANGES_MAX = 16_384;

/** Exchanges that wait for a commit, and when they have waited enough. */
export class PendingExchanges {
  #exchanges: Exchange[] = [];
  #bytes = 0;
  #slots = 0;
  #sinceNs = 0;

  get count(): number {
    return this.#exchanges.length;
  }

  add(exchange: Exchange, nowNs: () => number): void {
    if (this.#exchanges.length === 0) this.#sinceNs = nowNs();
    this.#exchanges.push(exchange);
    this.#bytes += keptBytesOf(exchange);
    this.#slots += slotsOf(exchange);
  }

  /** Whether the oldest has waited long enough (less where many wait), or all fill the blocks of a commit. */
  due(nowNs: number): boolean {
    if (this.#exchanges.length === 0) return false;
    const waitedMs = (nowNs - this.#sinceNs) / 1e6;
    return (
      waitedMs >= LIMITS.commitDelayMs ||
      (waitedMs >= LIMITS.commitSpacingMs && this.#exchanges.length >= LIMITS.commitExchanges) ||
      this.#bytes >= LIMITS.commitBlocks * LIMITS.blockBytes ||
      this.#slots >= LIMITS.commitBlocks * LIMITS.blockSlots ||
      this.#exchanges.length >= EXCHANGES_MAX
    );
  }

  /** All of them; none is left. */
  take(): Exchange[] {
    const taken = this.#exchanges;
    this.#exchanges = [];
    this.#bytes = 0;
    this.#slots = 0;
    return taken;
  }
}

/** Bytes of an exchange that go into blocks: heads, trailers and what was kept of its bodies. */
export function keptBytesOf(exchange: Exchange): number {
  const times = exchange.requestChunks.length + exchange.responseChunks.length;
  return messageBytes(exchange.request) + messageBytes(exchange.response) + 5 * times;
}

/** What a batch that failed stands for in the ledger. Bytes are those of heads and whole bodies. */
export function lossOf(exchanges: readonly Exchange[], reason: LossReason, nowUs: number): Loss {
  let fromUs = Number.POSITIVE_INFINITY;
  let toUs = Number.NEGATIVE_INFINITY;
  let bytes = 0;
  for (const exchange of exchanges) {
    const arrivalUs = Number.isFinite(exchange.arrivalUs) ? exchange.arrivalUs : nowUs;
    fromUs = Math.min(fromUs, arrivalUs);
    toUs = Math.max(toUs, arrivalUs + (exchange.lastByteOffsetUs ?? 0));
    for (const message of [exchange.request, exchange.response]) {
      bytes += message === null ? 0 : message.head.byteLength + message.body.bytes;
    }
  }
  return { reason, fromUs, toUs, exchanges: exchanges.length, bytes };
}

function messageBytes(message: Message | null): number {
  if (message === null) return 0;
  return message.head.byteLength + (message.trailers?.byteLength ?? 0) + (message.body.kept?.byteLength ?? 0);
}

function slotsOf({ request, response }: Exchange): number {
  if (request === null && response === null) return 0;
  return (
    1 + Number((request?.body.kept?.byteLength ?? 0) > 0) + Number((response?.body.kept?.byteLength ?? 0) > 0)
  );
}
