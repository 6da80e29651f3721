import type { Message } from '../../core/exchange.ts';
import type { RedactedBytes } from '../../core/redaction.ts';
import type { BodyCollector } from './body.ts';

/** A request or response while it is being read. */
export class MessageDraft {
  readonly head: RedactedBytes;
  readonly body: BodyCollector;
  /** Monotonic nanoseconds of the first byte, and of the one that completed the head. */
  readonly firstByteNs: number;
  readonly headEndNs: number;
  /** Whether all of it was seen. */
  ended = false;
  trailers: RedactedBytes | null = null;

  constructor(head: RedactedBytes, body: BodyCollector, firstByteNs: number, headEndNs: number) {
    this.head = head;
    this.body = body;
    this.firstByteNs = firstByteNs;
    this.headEndNs = headEndNs;
  }

  /** Monotonic nanoseconds of the last byte seen. */
  get lastByteNs(): number {
    return this.body.lastByteNs ?? this.headEndNs;
  }

  /** Bytes held beside the body, as charged to the budget. */
  get headBytes(): number {
    return this.head.bytes.length + (this.trailers?.bytes.length ?? 0);
  }

  finish(): Message {
    const names = this.trailers === null ? this.head.names : union(this.head.names, this.trailers.names);
    return {
      head: this.head.bytes,
      redacted: names,
      body: this.body.finish(this.ended),
      trailers: this.trailers?.bytes ?? null,
    };
  }
}

function union(first: readonly string[], second: readonly string[]): readonly string[] {
  return second.length === 0 ? first : [...new Set([...first, ...second])];
}
